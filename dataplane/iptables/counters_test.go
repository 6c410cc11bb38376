package iptables

import (
	"context"
	"maps"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestCounters sends packets to a pod, and holds the kernel's counters to them;
// neither a restart nor a change of somebody else's policy loses what was counted.
func TestCounters(t *testing.T) {
	ctx := context.Background()
	addr := netip.MustParseAddr
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) {
			cidrs := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}
			l, err := lab.New(ctx, lab.Spec{
				Nodes: []lab.Node{{Name: "n1", Addrs: addrs("192.0.2.1"), PodCIDRs: cidrs}},
				Pods: []lab.Pod{
					{Namespace: "shop", Name: "web", Node: "n1", Addrs: addrs("10.1.0.2")},
					{Namespace: "shop", Name: "client", Node: "n1", Addrs: addrs("10.1.0.3")},
				},
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
			for name, a := range map[string]string{"web": "10.1.0.2", "client": "10.1.0.3"} {
				ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1", Labels: map[string]string{"app": name}, Addrs: addrs(a)})
			}
			p := ingress("web", 1, allow(0, sel("app == 'client'"), 80), model.Rule{Index: 1, Action: model.Log})
			ix.Upsert(p)
			c := dataplane.NewCompiler(dataplane.Options{})
			c.Apply(ix.Flush())
			b, err := New(Options{Variant: v})
			if err != nil {
				t.Fatal(err)
			}
			inNode := func(f func() error) {
				t.Helper()
				if err := l.Do("n1", f); err != nil {
					t.Fatal(err)
				}
			}
			inNode(func() error { return b.Sync(ctx, dataplane.NewState(ix, "n1", c)) })
			for i, want := range []bool{true, true, false} {
				f := model.Flow{Src: addr("10.1.0.3"), Dst: addr("10.1.0.2"), Protocol: model.TCP, DstPort: []uint16{80, 80, 81}[i]}
				got, err := l.Probe(ctx, f, lab.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if got.Delivered != want || got.Answered != want {
					t.Errorf("probe %d: %+v", i, got)
				}
			}
			// Another pod comes, and with it other sets and rules; then the agent starts again.
			ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "new"}, Node: "n1", Labels: map[string]string{"app": "client"}, Addrs: addrs("10.1.0.4")})
			ch := c.Apply(ix.Flush())
			inNode(func() error { return b.Apply(ctx, ch, dataplane.NewState(ix, "n1", c)) })
			if b, err = New(Options{Variant: v}); err != nil {
				t.Fatal(err)
			}
			inNode(func() error { return b.Sync(ctx, dataplane.NewState(ix, "n1", c)) })
			o := dataplane.Origin{Tier: "default", Policy: p.Ref, Direction: model.Ingress, Action: model.Allow}
			logged, end := o, o
			logged.Rule, logged.Action = 1, model.Log
			end.Rule, end.Action = model.RuleEndOfTier, model.Deny
			for origin, want := range map[dataplane.Origin]uint64{o: 2, logged: 1, end: 1} {
				var counts map[dataplane.Origin]dataplane.Count
				inNode(func() (err error) { counts, err = b.Counters(ctx); return err })
				if got := counts[origin]; got.Packets != want || got.Bytes < want*20 {
					t.Errorf("%s: %+v, want %d packets", origin, got, want)
				}
			}
			// Somebody else's goroutine, in another namespace, is told the same.
			var counts map[dataplane.Origin]dataplane.Count
			inNode(func() (err error) { counts, err = b.Counters(ctx); return err })
			if beside, err := b.ReadCounters(ctx); err != nil || !maps.Equal(beside, counts) {
				t.Errorf("read beside: %v %v, want %v", beside, err, counts)
			}
			for name, origin := range b.have.origins {
				if got, ok := b.Origin(name + " whatever"); !ok || got != origin {
					t.Errorf("a log prefix leads to %v", got)
				}
			}
			if _, ok := b.Origin("of somebody else"); ok {
				t.Error("a foreign log prefix leads to a rule")
			}
		})
	}
}
