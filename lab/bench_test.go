//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// cluster has pods with addresses of both families, spread over nodes.
func cluster(nodes, pods int, network Network) Spec {
	s := Spec{Network: network}
	for i := range nodes {
		s.Nodes = append(s.Nodes, Node{
			Name:     fmt.Sprintf("n%d", i),
			Addrs:    []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), addr(fmt.Sprintf("2001:db8::%d", i+1))},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.%d.0/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd00:1:%d::/64", i))},
		})
	}
	for i := range pods {
		n := i % nodes
		s.Pods = append(s.Pods, Pod{Namespace: "a", Name: fmt.Sprintf("p%d", i), Node: s.Nodes[n].Name,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(n), byte(2 + i/nodes)}), addr(fmt.Sprintf("fd00:1:%d::%d", n, 2+i/nodes))}})
	}
	return s
}

func BenchmarkNew(b *testing.B) {
	for _, size := range [][2]int{{3, 30}, {3, 50}, {5, 300}} {
		for name, network := range map[string]Network{"routed": Routed, "bridged": Bridge} {
			b.Run(fmt.Sprintf("%s/nodes=%d/pods=%d", name, size[0], size[1]), func(b *testing.B) {
				for range b.N {
					l, err := New(context.Background(), cluster(size[0], size[1], network))
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					closeQuietly(l)
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkProbe sends probes of which none, all or half are dropped, eight at
// a time, and reports how many were told wrong.
func BenchmarkProbe(b *testing.B) {
	for name, network := range map[string]Network{"routed": Routed, "bridged": Bridge} {
		for what, ports := range map[string][2]uint16{"delivered": {80, 80}, "dropped": {81, 81}, "half": {80, 81}} {
			b.Run(name+"/"+what, func(b *testing.B) { benchmarkProbe(b, network, ports) })
		}
	}
}

func benchmarkProbe(b *testing.B, network Network, ports [2]uint16) {
	l, err := New(context.Background(), cluster(3, 30, network))
	if err != nil {
		b.Fatal(err)
	}
	defer closeQuietly(l)
	for i := range 3 {
		c := l.Command(fmt.Sprintf("n%d", i), "nft", "-f", "-")
		c.Stdin = strings.NewReader("table inet t {\n chain f { type filter hook forward priority 0; th dport 81 drop; }\n }")
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatal(err, string(out))
		}
	}
	all := cluster(3, 30, network).Pods
	var next, wrong atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				src, dst := int(i)%len(all), int(i/7)%len(all)
				if src == dst {
					dst = (dst + 1) % len(all)
				}
				f := model.Flow{Src: all[src].Addrs[i/3%2], Dst: all[dst].Addrs[i/3%2], DstPort: ports[i/11%2],
					Protocol: []model.Protocol{model.TCP, model.UDP, model.SCTP}[i%3]}
				r, err := l.Probe(context.Background(), f, Options{})
				if allowed := f.DstPort == 80; err != nil || r.Delivered != allowed || r.Answered != allowed {
					wrong.Add(1)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "probes/s")
	b.ReportMetric(float64(wrong.Load()), "wrong")
}
