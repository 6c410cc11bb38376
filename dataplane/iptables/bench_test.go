package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
)

// BenchmarkChange is what a pod that comes on another node, and goes again, costs
// a node of 100 pods in 50 apps, each with a policy that lets one other app in,
// where the cluster has 5,000 pods. It enters one set (in place), or also one of
// all pods (both sets are made anew, and rules with them).
func BenchmarkChange(b *testing.B) {
	for _, run := range []struct {
		name string
		v    Variant
		wide bool
	}{{"legacy/one-set", Legacy, false}, {"legacy/two-sets", Legacy, true}, {"nft/one-set", NFT, false}, {"nft/two-sets", NFT, true}} {
		b.Run(run.name, func(b *testing.B) {
			l, err := lab.New(context.Background(), lab.Spec{Nodes: []lab.Node{{Name: "n1", Addrs: addrs("192.0.2.1")}}})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			if err := l.Do("n1", func() error { return change(b, run.v, run.wide) }); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func change(b *testing.B, v Variant, wide bool) error {
	ctx := context.Background()
	ix := policy.New(policy.Options{Local: func(n string) bool { return n == "n0" }})
	pod := func(i int) *model.Endpoint {
		return &model.Endpoint{
			Ref:  model.Ref{Kind: model.KindPod, Namespace: "n", Name: fmt.Sprint("p", i)},
			Node: fmt.Sprint("n", i/100), Labels: map[string]string{"app": fmt.Sprint("a", i%50)},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i%250 + 1)})},
		}
	}
	for i := range 5000 {
		ix.Upsert(pod(i))
	}
	for i := range 50 {
		p := ingress(fmt.Sprint("app-", i), 1000, allow(0, sel(fmt.Sprintf("app == 'a%d'", (i+1)%50)), 80))
		if wide {
			p.IngressRules = append(p.IngressRules, allow(1, sel("has(app)"), 443))
		}
		p.Selector = sel(fmt.Sprintf("app == 'a%d'", i)).Selector
		ix.Upsert(p)
	}
	c := dataplane.NewCompiler(dataplane.Options{})
	c.Apply(ix.Flush())
	backend, err := New(Options{Variant: v})
	if err != nil {
		return err
	}
	if err := backend.Sync(ctx, dataplane.NewState(ix, "n0", c)); err != nil {
		return err
	}
	b.ResetTimer()
	for n := range b.N {
		if n%2 == 0 {
			ix.Upsert(pod(6000))
		} else {
			ix.Delete(pod(6000).Ref)
		}
		ch := c.Apply(ix.Flush())
		if err := backend.Apply(ctx, ch, dataplane.NewState(ix, "n0", c)); err != nil {
			return err
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(backend.Stats().Restores), "restores")
	return backend.Cleanup(ctx)
}
