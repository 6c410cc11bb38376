package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// benchChanges are what comes and goes by turns on a node of 100 pods in 50 apps, each with
// a policy that lets one other app in, in a cluster of 5,000 pods.
var benchChanges = []struct {
	name string
	// wide: all policies let in all pods at another port too.
	wide   bool
	object func() model.Object
}{
	{"one-member", false, func() model.Object { return benchPod(6000, map[string]string{"app": "a0"}) }},
	{"two-sets", true, func() model.Object { return benchPod(6000, map[string]string{"app": "a0"}) }},
	{"ten-sets", false, func() model.Object { return benchPod(6000, map[string]string{"ten": "x"}) }},
	{"one-policy", false, func() model.Object {
		p := ingress("more", 999, allow(0, sel("app == 'a7'"), 8080))
		p.Selector = sel("app == 'a3'").Selector
		return p
	}},
}

func benchPod(i int, labels map[string]string) *model.Endpoint {
	return &model.Endpoint{
		Ref:  model.Ref{Kind: model.KindPod, Namespace: "n", Name: fmt.Sprint("p", i)},
		Node: fmt.Sprint("n", i/100), Labels: labels,
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i%250 + 1)})},
	}
}

// BenchmarkChange is how long the backend takes for a change, all in all.
func BenchmarkChange(b *testing.B) {
	for _, v := range []Variant{Legacy, NFT} {
		for i := range benchChanges {
			b.Run(v.String()+"/"+benchChanges[i].name, func(b *testing.B) {
				l, err := lab.New(context.Background(), lab.Spec{Nodes: []lab.Node{{Name: "n1", Addrs: addrs("192.0.2.1")}}})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = l.Close() }()
				if err := l.Do("n1", func() error { return change(b, v, i) }); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

func change(b *testing.B, v Variant, which int) error {
	ctx := context.Background()
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n0" }})
	for i := range 5000 {
		ix.Upsert(benchPod(i, map[string]string{"app": fmt.Sprint("a", i%50)}))
	}
	for i := range 50 {
		p := ingress(fmt.Sprint("app-", i), 1000, allow(0, sel(fmt.Sprintf("app == 'a%d'", (i+1)%50)), 80))
		if benchChanges[which].wide {
			p.IngressRules = append(p.IngressRules, allow(1, sel("has(app)"), 443))
		}
		if i < 10 {
			p.IngressRules = append(p.IngressRules, allow(2, sel(fmt.Sprintf("ten == 'x' || ten == '%d'", i)), 8443))
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
	var took []time.Duration
	o := benchChanges[which].object()
	b.ResetTimer()
	for n := range b.N {
		if n%2 == 0 {
			ix.Upsert(o)
		} else {
			ix.Delete(refOf(o))
		}
		start := time.Now()
		ch := c.Apply(ix.Flush())
		if err := backend.Apply(ctx, ch, dataplane.NewState(ix, "n0", c)); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(backend.Stats().Restores), "restores")
	return backend.Cleanup(ctx)
}

func refOf(o model.Object) model.Ref {
	switch o := o.(type) {
	case *model.Endpoint:
		return o.Ref
	case *model.Policy:
		return o.Ref
	}
	return model.Ref{}
}
