package nftables

import (
	"context"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestCounters sends packets to a pod on a routed and on a bridge network, and
// holds the kernel's counters to them; a restart keeps what was counted.
func TestCounters(t *testing.T) {
	ctx := context.Background()
	for _, network := range []lab.Network{lab.Routed, lab.Bridge} {
		addr := netip.MustParseAddr
		l, err := lab.New(ctx, lab.Spec{
			Network: network,
			Nodes:   []lab.Node{{Name: "n1", Addrs: []netip.Addr{addr("192.0.2.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}}},
			Pods: []lab.Pod{
				{Namespace: "shop", Name: "web", Node: "n1", Addrs: []netip.Addr{addr("10.1.0.2")}},
				{Namespace: "shop", Name: "client", Node: "n1", Addrs: []netip.Addr{addr("10.1.0.3")}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ix := index.New(index.Options{})
		ix.Upsert(&model.Node{Name: "n1", Addrs: []netip.Addr{addr("192.0.2.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}})
		for name, a := range map[string]string{"web": "10.1.0.2", "client": "10.1.0.3"} {
			ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1", Labels: map[string]string{"app": name}, Addrs: []netip.Addr{addr(a)}})
		}
		p := ingress("web", 1, allow(0, sel("app == 'client'"), 80), model.Rule{Index: 1, Action: model.Log})
		ix.Upsert(p)
		c := dataplane.NewCompiler(dataplane.Options{})
		c.Apply(ix.Flush())
		s := dataplane.NewState(ix, "n1", c)
		var b *Backend
		sync := func() {
			if err := l.Do("n1", func() error {
				if b, err = New(Options{}); err != nil {
					return err
				}
				return b.Sync(ctx, s)
			}); err != nil {
				t.Fatal(err)
			}
		}
		sync()
		for i, want := range []bool{true, true, false} {
			f := model.Flow{Src: addr("10.1.0.3"), Dst: addr("10.1.0.2"), Protocol: model.TCP, DstPort: []uint16{80, 80, 81}[i]}
			got, err := l.Probe(ctx, f, lab.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Delivered != want || got.Answered != want {
				t.Errorf("network %v: probe %d: %+v", network, i, got)
			}
		}
		o := dataplane.Origin{Tier: "default", Policy: p.Ref, Direction: model.Ingress, Action: model.Allow}
		logged, end := o, o
		logged.Rule, logged.Action = 1, model.Log
		end.Rule, end.Action = model.RuleEndOfTier, model.Deny
		sync() // a restart
		for origin, want := range map[dataplane.Origin]uint64{o: 2, logged: 1, end: 1} {
			var counts map[dataplane.Origin]dataplane.Count
			if err := l.Do("n1", func() (err error) { counts, err = b.Counters(ctx); return err }); err != nil {
				t.Fatal(err)
			}
			if beside, err := b.ReadCounters(ctx); err != nil || beside[origin] != counts[origin] { // in another namespace
				t.Errorf("network %v: %s: read beside: %+v %v", network, origin, beside[origin], err)
			}
			if got := counts[origin]; got.Packets != want || got.Bytes < want*20 {
				t.Errorf("network %v: %s: %+v, want %d packets", network, origin, got, want)
			}
			if got, ok := b.Origin("c-" + naming.Hash(origin.String()) + " whatever"); !ok || got != origin {
				t.Errorf("a log prefix leads to %v", got)
			}
		}
		if _, ok := b.Origin("of somebody else"); ok {
			t.Error("a foreign log prefix leads to a rule")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
