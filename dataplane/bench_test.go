package dataplane

import (
	"net/netip"
	"runtime"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// realNode is the profile of a real, busy node: 294 policies of 68 rules, 3,708
// sets of 256,000 members, 100 local pods of 50 kinds.
func realNode() *policy.Index {
	ix := policy.New(policy.Options{})
	next := 0
	addr := func() netip.Addr {
		next++
		return netip.AddrFrom4([4]byte{10, byte(next >> 16), byte(next >> 8), byte(next)})
	}
	for i := range 3708 {
		size := 1 + i%9
		switch {
		case i == 3707:
			size = 54_566
		case i >= 3035:
			size = 277
		}
		name := "set-" + strconv.Itoa(i)
		nets := make([]netip.Prefix, size)
		for j := range nets {
			nets[j] = netip.PrefixFrom(addr(), 32)
		}
		ix.Upsert(&model.NetworkSet{Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: name}, Labels: map[string]string{"set": name}, Nets: nets})
	}
	endpoints := selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)
	for i := range 294 {
		p := &model.Policy{
			Ref:  model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "policy-" + strconv.Itoa(i)},
			Tier: model.TierDefault, Order: float64(i), Ingress: true,
			Selector: selector.And(selector.Equal("app", "app-"+strconv.Itoa(i%50)), endpoints),
		}
		for j := range 68 {
			p.IngressRules = append(p.IngressRules, model.Rule{Index: j, Action: model.Allow, Match: model.Match{
				Protocol: model.TCP,
				Source: model.Peer{Selector: selector.And(
					selector.Equal("set", "set-"+strconv.Itoa((i*68+j)%3708)), selector.NotEqual(model.LabelKind, model.OwnerNode))},
				Destination: model.Peer{Ports: []model.Port{{First: uint16(80 + j), Last: uint16(80 + j)}}},
			}})
		}
		ix.Upsert(p)
	}
	for i := range 100 {
		ix.Upsert(&model.Endpoint{
			Ref:    model.Ref{Kind: model.KindPod, Namespace: "ns", Name: "pod-" + strconv.Itoa(i)},
			Labels: map[string]string{"app": "app-" + strconv.Itoa(i%50)}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, 0, byte(i)})},
		})
	}
	return ix
}

// BenchmarkCompileRealNode compiles the profile from nothing, and one member
// that enters and leaves a set.
func BenchmarkCompileRealNode(b *testing.B) {
	ix := realNode()
	d := ix.Flush()
	b.Run("cold-start", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := NewCompiler(Options{})
			ch := c.Apply(d)
			addrs := 0
			for _, t := range ch.Tables {
				addrs += t.State.Len()
			}
			b.ReportMetric(float64(len(ch.Added)), "programs")
			b.ReportMetric(float64(len(ch.Tables)), "tables")
			b.ReportMetric(float64(addrs), "addrs")
			runtime.KeepAlive(c)
		}
	})
	b.Run("one-member", func(b *testing.B) {
		c := NewCompiler(Options{})
		c.Apply(d)
		client := &model.Endpoint{
			Ref:    model.Ref{Kind: model.KindPod, Namespace: "ns", Name: "client"},
			Labels: map[string]string{"set": "set-7"}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		}
		b.ReportAllocs()
		for b.Loop() {
			ix.Upsert(client)
			if ch := c.Apply(ix.Flush()); len(ch.Tables) == 0 {
				b.Fatal("no table changed")
			}
			ix.Delete(client.Ref)
			c.Apply(ix.Flush())
		}
	})
}
