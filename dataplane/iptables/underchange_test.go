package iptables

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// changing is a pod that is let in with none of the labels that it has in turn,
// though it would be with some of two together: half a change would let it in.
var changing = []map[string]string{{"a": ""}, {"b": ""}, {"c": "", "d": ""}, {}, {"b": ""}, {"a": ""}, {"c": "", "d": ""}, {"a": ""}, {}}

// changingPolicies let in b that a passes, and c less d.
func changingPolicies() []model.Object {
	first := ingress("first", 1,
		model.Rule{Action: model.Pass, Match: model.Match{Source: sel("has(a)")}},
		model.Rule{Index: 1, Action: model.Deny, Match: model.Match{Source: sel("has(d)")}},
		model.Rule{Index: 2, Action: model.Allow, Match: model.Match{Source: sel("has(c)")}})
	first.Tier = "first"
	return []model.Object{
		&model.Tier{Name: "first", Order: 1, DefaultAction: model.Deny}, first,
		ingress("second", 1, model.Rule{Action: model.Allow, Match: model.Match{Source: sel("has(b)")}}),
	}
}

// TestUnderChange sends a stream of new flows, of both families, from a pod whose
// labels change, and holds the node to letting none in before labels allow it.
func TestUnderChange(t *testing.T) {
	ctx := context.Background()
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) {
			cidrs := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00:1::/64")}
			web, client := addrs("10.1.0.2", "fd00:1::2"), addrs("10.1.0.3", "fd00:1::3")
			l, err := lab.New(ctx, lab.Spec{
				Nodes: []lab.Node{{Name: "n1", Addrs: addrs("192.0.2.1"), PodCIDRs: cidrs}},
				Pods:  []lab.Pod{{Namespace: "shop", Name: "web", Node: "n1", Addrs: web}, {Namespace: "shop", Name: "client", Node: "n1", Addrs: client}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}()
			pod := func(name string, labels map[string]string, a []netip.Addr) *model.Endpoint {
				return &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1", Labels: labels, Addrs: a}
			}
			ix := index.New(index.Options{})
			ix.Upsert(&model.Node{Name: "n1", Addrs: addrs("192.0.2.1"), PodCIDRs: cidrs})
			for _, o := range append(changingPolicies(), pod("web", map[string]string{"app": "web"}, web), pod("client", changing[0], client)) {
				ix.Upsert(o)
			}
			c := dataplane.NewCompiler(dataplane.Options{})
			c.Apply(ix.Flush())
			b, err := New(Options{Variant: v})
			if err != nil {
				t.Fatal(err)
			}
			apply := func(labels map[string]string) {
				t.Helper()
				ix.Upsert(pod("client", labels, client))
				ch := c.Apply(ix.Flush())
				if err := l.Do("n1", func() error { return b.Apply(ctx, ch, dataplane.NewState(ix, "n1", c)) }); err != nil {
					t.Fatal(err)
				}
			}
			apply(changing[0])
			stop, in, sent := flood(t, l, web)
			for n := range 60 {
				apply(changing[n%len(changing)])
			}
			if in.Load() > 0 {
				t.Errorf("of %d flows %d got in", sent.Load(), in.Load())
			}
			before := sent.Load()
			if before < 100 {
				t.Errorf("only %d flows were tried", before)
			}
			apply(map[string]string{"a": "", "b": ""}) // now it may
			for until := time.Now().Add(20 * time.Second); in.Load() < 10 && time.Now().Before(until); {
				time.Sleep(10 * time.Millisecond)
			}
			stop()
			if in.Load() < 10 {
				t.Errorf("of %d flows that may get in %d did", sent.Load()-before, in.Load())
			}
			t.Logf("%d flows during 60 changes; %+v", before, b.Stats())
		})
	}
}

// flood sends flows from the client to the server until it is stopped, and counts those that get in.
func flood(t *testing.T, l *lab.Lab, to []netip.Addr) (stop func(), in, sent *atomic.Int64) {
	t.Helper()
	in, sent = &atomic.Int64{}, &atomic.Int64{}
	var over sync.WaitGroup
	var listeners []net.PacketConn
	if err := l.Do("shop/web", func() error {
		for _, a := range to {
			conn, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 80).String())
			if err != nil {
				return err
			}
			listeners = append(listeners, conn)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, conn := range listeners {
		over.Go(func() {
			for buf := make([]byte, 10); ; in.Add(1) {
				if _, _, err := conn.ReadFrom(buf); err != nil {
					return
				}
			}
		})
	}
	done := make(chan struct{})
	over.Go(func() {
		_ = l.Do("shop/client", func() error {
			for {
				for _, a := range to {
					select {
					case <-done:
						return nil
					default:
					}
					conn, err := net.Dial("udp", netip.AddrPortFrom(a, 80).String())
					if err != nil {
						continue
					}
					if _, err := conn.Write([]byte("x")); err == nil {
						sent.Add(1)
					}
					_ = conn.Close()
				}
			}
		})
	})
	return func() {
		close(done)
		for _, conn := range listeners {
			_ = conn.Close()
		}
		over.Wait()
	}, in, sent
}
