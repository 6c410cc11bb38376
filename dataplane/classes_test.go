package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestClassOfAddressThatComesBack has an address leave all sets and enter one
// that no classed table asks for, in one change: what was known of it is taken back.
func TestClassOfAddressThatComesBack(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	pod := func(name, app string, i int) *model.Endpoint {
		return &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1",
			Labels: map[string]string{"app": app}, Addrs: []netip.Addr{addr(i)}}
	}
	web, err := selector.Parse("app == 'web'")
	if err != nil {
		t.Fatal(err)
	}
	client, err := selector.Parse("app == 'client'")
	if err != nil {
		t.Fatal(err)
	}
	ix := index.New(index.Options{})
	c := NewCompiler(Options{Linear: -1, Classed: 2})
	ix.Upsert(pod("web", "web", 1))
	for i := 2; i <= 4; i++ {
		ix.Upsert(pod(fmt.Sprint("client-", i), "client", i))
	}
	ix.Upsert(&model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "in"}, Tier: "default", Selector: web, Ingress: true,
		IngressRules: []model.Rule{{Action: model.Allow, Match: model.Match{Source: model.Peer{Selector: client}}}},
	})
	first := c.Apply(ix.Flush())
	if len(first.Classes) != 3 || first.Classes[0].Class == 0 || first.Classes[0].Class != first.Classes[2].Class {
		t.Fatalf("classes are %v, want three addresses of one", first.Classes)
	}
	ix.Delete(pod("client-4", "client", 4).Ref)
	ix.Upsert(&model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "out"}, Tier: "default", Selector: web, Egress: true,
		EgressRules: []model.Rule{{Action: model.Allow, Match: model.Match{Destination: model.Peer{Nets: []netip.Prefix{netip.PrefixFrom(addr(4), 32)}}}}},
	})
	ch := c.Apply(ix.Flush())
	if want := []ClassChange{{addr(4), 0}}; !slices.Equal(ch.Classes, want) {
		t.Errorf("told %v, want %v", ch.Classes, want)
	}
	if _, known := maps.Collect(c.Classes(IPv4))[addr(4)]; known || c.spaces[0].classOf(addr(4)) == nil {
		t.Errorf("the world has gone blind, or %s has a class", addr(4))
	}
}
