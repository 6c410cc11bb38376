package iptables

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestSources adds, moves and removes pods, and holds the source guard of each
// variant, with short cuts and without, to the interface, and on a bridge the port, of each pod: before and after
// each change, and at each step of it to letting nothing pass that passes neither before nor after.
func TestSources(t *testing.T) {
	for _, port := range []bool{false, true} {
		for _, v := range []Variant{Legacy, NFT} {
			t.Run(fmt.Sprintf("%v, ports %v", v, port), func(t *testing.T) {
				n := &sourcesNode{t: t, rng: rand.New(rand.NewPCG(7, 8)), port: port, homes: map[netip.Addr]string{}}
				n.run(v)
			})
		}
	}
}

// sourcesNode is a node whose pods come and go.
type sourcesNode struct {
	t     *testing.T
	rng   *rand.Rand
	port  bool
	homes map[netip.Addr]string // the interface, or the port, of each address
	ix    *index.Index
}

func sourceAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 0, byte(10 + i)}) }

const sourceAddrs, sourceLinks = 40, 5

func (n *sourcesNode) run(v Variant) {
	ctx := context.Background()
	n.ix = index.New(index.Options{Local: func(name string) bool { return name == "n1" }})
	n.ix.Upsert(&model.Node{Name: "n1", Addrs: addrs("192.0.2.1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}})
	some := ingress("some", 10) // pods at some places may send nothing
	some.Ingress, some.Egress, some.Selector = false, true, sel("at in {'veth1', 'veth3'}").Selector
	n.ix.Upsert(some)
	c := dataplane.NewCompiler(dataplane.Options{})
	k := newSimulated()
	b := &Backend{opts: Options{Variant: v}.complete(), kernel: k, litter: map[string]bool{}, alone: true}
	for change := range 25 {
		old := n.passing(k)
		k.look = func(string) {}
		if change > 0 {
			n.change(1 + change%3)
		}
		early := map[string]string{}
		k.look = func(step string) {
			for p := range n.passing(k) {
				if !old[p] && early[p] == "" {
					early[p] = step
				}
			}
		}
		n.index()
		ch := c.Apply(n.ix.Flush())
		if err := b.Apply(ctx, ch, dataplane.NewState(n.ix, "n1", c)); err != nil {
			n.t.Fatal(err)
		}
		now := n.passing(k)
		for p, step := range early {
			if !now[p] && change > 0 { // at first it is from nothing
				n.t.Errorf("change %d: %s passes after %q, and neither before the change nor after it", change, p, step)
			}
		}
		for i := range sourceAddrs {
			for link := range sourceLinks {
				a, at := sourceAddr(i), fmt.Sprint("veth", link)
				home, there := n.homes[a]
				if key := fmt.Sprint(a, " by ", at); k.passes(n.packet(a, at), [2]string{tableRaw, "PREROUTING"}) != (!there || home == at) {
					n.t.Fatalf("change %d: %s: pod is at %q", change, key, home)
				}
			}
		}
	}
}

// passing are the packets that pass the guard and policies.
func (n *sourcesNode) passing(k *simulated) map[string]bool {
	out := map[string]bool{}
	for i := range sourceAddrs {
		for link := range sourceLinks {
			a, at := sourceAddr(i), fmt.Sprint("veth", link)
			if k.passes(n.packet(a, at), ways[0]...) {
				out[fmt.Sprint(a, " by ", at)] = true
			}
		}
	}
	return out
}

func (n *sourcesNode) packet(a netip.Addr, at string) packet {
	p := packet{Flow: model.Flow{Src: a, Dst: netip.MustParseAddr("198.51.100.1"), Protocol: model.TCP, SrcPort: 1000, DstPort: 80}, iface: at, out: "eth0"}
	if n.port {
		p.iface, p.port = "cni0", at
	}
	return p
}

// change adds, moves or removes pods.
func (n *sourcesNode) change(pods int) {
	for range pods {
		a := sourceAddr(n.rng.IntN(sourceAddrs))
		if _, there := n.homes[a]; there && n.rng.IntN(3) == 0 {
			delete(n.homes, a)
			continue
		}
		n.homes[a] = fmt.Sprint("veth", n.rng.IntN(sourceLinks))
	}
}

// index tells the index what has changed.
func (n *sourcesNode) index() {
	l := links("", "").(*model.Links)
	l.Pods = nil
	for i := range sourceAddrs {
		a := sourceAddr(i)
		home, there := n.homes[a]
		e := &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: a.String()}, Node: "n1", Labels: map[string]string{"at": home}, Addrs: []netip.Addr{a}}
		if !there {
			n.ix.Delete(e.Ref)
			continue
		}
		n.ix.Upsert(e)
		p := model.PodLink{Addr: a, Interface: home}
		if n.port {
			p.Interface, p.Port = "cni0", home
		}
		l.Pods = append(l.Pods, p)
	}
	n.ix.Upsert(l)
}
