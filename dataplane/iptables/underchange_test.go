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

// TestNotHeldBack has a pod ask another, each time by a new flow, while a preDNAT policy
// and another policy of the host change together, and holds the node to losing none of
// the flows, which neither policy matches.
func TestNotHeldBack(t *testing.T) {
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
			ix := index.New(index.Options{})
			ix.Upsert(&model.Node{Name: "n1", Addrs: addrs("192.0.2.1"), PodCIDRs: cidrs})
			for name, a := range map[string][]netip.Addr{"web": web, "client": client} {
				ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1", Labels: map[string]string{"app": name}, Addrs: a})
			}
			ix.Upsert(hostEndpoint("*"))
			ix.Upsert(ingress("web", 1, model.Rule{Action: model.Allow, Match: model.Match{Source: sel("app == 'client'")}}))
			c := dataplane.NewCompiler(dataplane.Options{})
			b, err := New(Options{Variant: v})
			if err != nil {
				t.Fatal(err)
			}
			apply := func(n int) {
				t.Helper()
				port := model.Peer{Ports: []model.Port{{First: uint16(1000 + n), Last: uint16(1000 + n)}}}
				rule := model.Rule{Action: model.Allow, Match: model.Match{Protocol: model.TCP, Destination: port}}
				ix.Upsert(hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward, p.IngressRules = true, true, []model.Rule{rule} }))
				ix.Upsert(hostPolicy("host", func(p *model.Policy) { p.IngressRules = []model.Rule{rule} }))
				ch := c.Apply(ix.Flush())
				if err := l.Do("n1", func() error { return b.Apply(ctx, ch, dataplane.NewState(ix, "n1", c)) }); err != nil {
					t.Fatal(err)
				}
			}
			apply(0)
			stop, lost, asked := ask(t, l, web)
			for n := range 60 {
				apply(1 + n%2)
			}
			stop()
			if lost.Load() > 0 || asked.Load() < 100 {
				t.Errorf("of %d flows %d were lost", asked.Load(), lost.Load())
			}
			t.Logf("%d flows during 60 changes; %+v", asked.Load(), b.Stats())
		})
	}
}

// ask has the client ask the server by flow after flow until it is stopped, and counts
// those without an answer.
func ask(t *testing.T, l *lab.Lab, to []netip.Addr) (stop func(), lost, asked *atomic.Int64) {
	t.Helper()
	lost, asked = &atomic.Int64{}, &atomic.Int64{}
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
			for buf := make([]byte, 10); ; {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = conn.WriteTo(buf[:n], from)
			}
		})
	}
	one := func(a netip.Addr) error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(a, 80).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 10))
		return err
	}
	var done atomic.Bool
	over.Go(func() {
		_ = l.Do("shop/client", func() error {
			for !done.Load() {
				for _, a := range to {
					asked.Add(1)
					if one(a) != nil {
						lost.Add(1)
					}
				}
			}
			return nil
		})
	})
	return func() {
		done.Store(true)
		for _, conn := range listeners {
			_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		}
		over.Wait()
		for _, conn := range listeners {
			_ = conn.Close()
		}
	}, lost, asked
}
