package bench

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// The node whose kernel is programmed, and the one where all other pods are.
const here, elsewhere = "here", "elsewhere"

// subjects are what ordinary policies select.
var (
	subjects = selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)
	notNode  = selector.NotEqual(model.LabelKind, model.OwnerNode)
)

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func pod(name, node string, labels map[string]string, a netip.Addr) *model.Endpoint {
	return &model.Endpoint{
		Ref:  model.Ref{Kind: model.KindPod, Namespace: "ns", Name: name},
		Node: node, Labels: labels, Addrs: []netip.Addr{a},
	}
}

func networkSet(name string, nets []netip.Prefix) *model.NetworkSet {
	return &model.NetworkSet{Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: name}, Labels: map[string]string{"set": name}, Nets: nets}
}

func ingress(name string, order float64, sel *selector.Selector, rules ...model.Rule) *model.Policy {
	return &model.Policy{
		Ref:  model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name},
		Tier: model.TierDefault, Order: order, Selector: selector.And(sel, subjects),
		Ingress: true, IngressRules: rules,
	}
}

// allow is a rule that allows TCP from a peer, to a port unless that is 0.
func allow(i int, from model.Peer, port int) model.Rule {
	r := model.Rule{Index: i, Action: model.Allow, Match: model.Match{Protocol: model.TCP, Source: from}}
	if port > 0 {
		r.Match.Destination.Ports = []model.Port{{First: uint16(port), Last: uint16(port)}}
	}
	return r
}

func from(sel *selector.Selector) model.Peer { return model.Peer{Selector: selector.And(sel, notNode)} }

// agent is an index and a compiler of a node, as its agent has them.
type agent struct {
	ix       *index.Index
	compiler *dataplane.Compiler
	node     string
	answers  *dataplane.Answers // nil: none wait
}

func newAgent(node string) *agent {
	return &agent{ix: index.New(index.Options{Local: func(n string) bool { return n == node }}), compiler: dataplane.NewCompiler(dataplane.Options{}), node: node}
}

// flush compiles what has changed in the index.
func (a *agent) flush() *dataplane.Change { return a.compiler.Apply(a.ix.Flush()) }

func (a *agent) state() *dataplane.State {
	s := dataplane.NewState(a.ix, a.node, a.compiler)
	s.Answers = a.answers
	return s
}

// inKernel runs a benchmark in a network namespace of its own.
func inKernel(b *testing.B, f func()) {
	b.Helper()
	l, err := lab.New(b.Context(), lab.Spec{Nodes: []lab.Node{{Name: here, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := l.Do(here, func() error { f(); return nil }); err != nil {
		b.Fatal(err)
	}
}

// sizedNode is n sets of 100 addresses and n policies of 10 rules, each from a set
// to a port, each on one local pod.
func sizedNode(ix *index.Index, n int) {
	const members = 100
	for i := range n {
		nets := make([]netip.Prefix, members)
		for j := range nets {
			nets[j] = netip.PrefixFrom(addr(i*members+j), 32)
		}
		ix.Upsert(networkSet("set-"+strconv.Itoa(i), nets))
	}
	for i := range n {
		ix.Upsert(sizedPolicy(i, 80, n))
		ix.Upsert(sizedPod(i, i))
	}
}

// sizedPod is a pod of a number, with an address of a number.
func sizedPod(i, a int) *model.Endpoint {
	return pod("pod-"+strconv.Itoa(i), here, map[string]string{"app": "app-" + strconv.Itoa(i)}, netip.AddrFrom4([4]byte{172, byte(16 + a>>16), byte(a >> 8), byte(a)}))
}

func sizedPolicy(i, port, n int) *model.Policy {
	rules := make([]model.Rule, 10)
	for j := range rules {
		rules[j] = allow(j, from(selector.Equal("set", "set-"+strconv.Itoa((i*10+j)%n))), port+j)
	}
	return ingress("policy-"+strconv.Itoa(i), 10, selector.Equal("app", "app-"+strconv.Itoa(i)), rules...)
}

// realNode is the profile of a real, busy node, or a part of it.
func realNode(ix *index.Index, part int) {
	next, n := 0, 3708/part
	for i := range n {
		size := 1 + i%9
		switch {
		case i == n-1:
			size = 54_566 / part
		case i >= 3035/part:
			size = 277
		}
		nets := make([]netip.Prefix, size)
		for j := range nets {
			nets[j] = netip.PrefixFrom(addr(next), 32)
			next++
		}
		ix.Upsert(networkSet("set-"+strconv.Itoa(i), nets))
	}
	for i := range 294 / part {
		rules := make([]model.Rule, 68)
		for j := range rules {
			rules[j] = allow(j, from(selector.Equal("set", "set-"+strconv.Itoa((i*68+j)%n))), 80+j)
		}
		ix.Upsert(ingress("policy-"+strconv.Itoa(i), float64(i), selector.Equal("app", "app-"+strconv.Itoa(i%50)), rules...))
	}
	for i := range 100 {
		ix.Upsert(pod("pod-"+strconv.Itoa(i), here, map[string]string{"app": "app-" + strconv.Itoa(i%50)}, netip.AddrFrom4([4]byte{172, 16, 0, byte(i)})))
	}
}

// markers is 100,000 endpoints (or less by a part), 200 of them here, with one of
// 30 labels each, and a tenth as many policies that each select one of these labels
// and have 5 rules that allow from one.
func markers(ix *index.Index, part int) {
	for i := range 10_000 / part {
		ix.Upsert(markerPolicy(i, i*7%30))
	}
	for i := range 100_000 / part {
		node := elsewhere
		if i < 200 {
			node = here
		}
		ix.Upsert(markerPod(i, node))
	}
}

func marker(i int) string { return "marker-" + strconv.Itoa(i%30) }

func markerPod(i int, node string) *model.Endpoint {
	return pod("pod-"+strconv.Itoa(i), node, map[string]string{marker(i): "true"}, addr(i))
}

func markerPolicy(i, shift int) *model.Policy {
	rules := make([]model.Rule, 5)
	for j := range rules {
		rules[j] = allow(j, from(selector.Has(marker(i*5+j+shift))), 0)
	}
	return ingress("policy-"+strconv.Itoa(i), float64(i%7), selector.Has(marker(i)), rules...)
}

// teams is the same numbers as clusters have them: 1,000 namespaces (or less by a
// part) of 100 pods and 10 policies among themselves; the pods here are of 20 namespaces.
func teams(ix *index.Index, part int) {
	for i := range 1000 / part {
		for j := range 10 {
			ix.Upsert(teamPolicy(i, j, 8080))
		}
		for j := range 100 {
			node := elsewhere
			if i < 20 && j < 10 {
				node = here
			}
			ix.Upsert(teamPod(i, j, node))
		}
	}
}

func teamPod(team, i int, node string) *model.Endpoint {
	return pod("pod-"+strconv.Itoa(team)+"-"+strconv.Itoa(i), node,
		map[string]string{"team": strconv.Itoa(team), "app": strconv.Itoa(i % 10)}, addr(team*100+i))
}

func teamPolicy(team, i, port int) *model.Policy {
	app := func(n int) *selector.Selector {
		return selector.And(selector.Equal("team", strconv.Itoa(team)), selector.Equal("app", strconv.Itoa(n%10)))
	}
	return ingress("policy-"+strconv.Itoa(team)+"-"+strconv.Itoa(i), 10, app(i),
		allow(0, from(app(i+1)), port), allow(1, from(app(i+2)), port+1))
}
