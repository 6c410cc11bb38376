package dataplane

import (
	"net/netip"
	"strconv"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// benchWorld is a world of test/bench without its kernel: how it is fed, and
// what changes in it.
type benchWorld struct {
	name string
	feed func(*index.Index)
	// pod is a pod on a node, with another address for each i; policy is one with
	// other rules for each i.
	pod    func(i int, node string) *model.Endpoint
	policy func(i int) *model.Policy
}

// The node that is compiled for, and the one where all other pods are.
const here, elsewhere = "here", "elsewhere"

var benchWorlds = []benchWorld{
	{
		// 1,000 namespaces of 100 pods and 10 policies among themselves; 200 pods here, of 20 namespaces.
		"teams",
		func(ix *index.Index) {
			for i := range 1000 {
				for j := range 10 {
					ix.Upsert(teamPolicy(i, j, 8080))
				}
				for j := range 100 {
					node := elsewhere
					if i < 20 && j < 10 {
						node = here
					}
					ix.Upsert(benchPod(i*100+j, node, teamLabels(i, j)))
				}
			}
		},
		func(i int, node string) *model.Endpoint { return mover(i, node, teamLabels(3, 5)) },
		func(i int) *model.Policy { return teamPolicy(3, 5, 9000+i) },
	},
	{
		// 100,000 pods, 200 of them here, with one of 30 labels each; 10,000 policies
		// that select one of the labels and have 5 rules from one each.
		"markers",
		func(ix *index.Index) {
			for i := range 10_000 {
				ix.Upsert(markerPolicy(i, i*7%30))
			}
			for i := range 100_000 {
				node := elsewhere
				if i < 200 {
					node = here
				}
				ix.Upsert(benchPod(i, node, map[string]string{marker(i): "true"}))
			}
		},
		func(i int, node string) *model.Endpoint { return mover(i, node, map[string]string{marker(7): "true"}) },
		func(i int) *model.Policy { return markerPolicy(77, i) },
	},
	{
		// 2,000 sets of 100 addresses, 2,000 policies of 10 rules on one local pod each.
		"sized",
		func(ix *index.Index) {
			next := 0
			for i := range 2000 {
				ix.Upsert(benchSet(i, 100, &next))
			}
			for i := range 2000 {
				ix.Upsert(setsPolicy(i, i, 10, 80))
				ix.Upsert(benchPod(1<<21+i, here, map[string]string{"app": strconv.Itoa(i)}))
			}
		},
		func(i int, node string) *model.Endpoint { return mover(i, node, map[string]string{"set": "7"}) },
		func(i int) *model.Policy { return setsPolicy(77, 77, 10, 100+i) },
	},
	{
		// A real, busy node: 294 policies of 68 rules, 3,708 sets of 256,000 members,
		// 100 local pods of 50 kinds.
		"real",
		func(ix *index.Index) {
			next := 0
			for i := range 3708 {
				size := 1 + i%9
				switch {
				case i == 3707:
					size = 54_566
				case i >= 3035:
					size = 277
				}
				ix.Upsert(benchSet(i, size, &next))
			}
			for i := range 294 {
				ix.Upsert(setsPolicy(i, i%50, 68, 80))
			}
			for i := range 100 {
				ix.Upsert(benchPod(1<<21+i, here, map[string]string{"app": strconv.Itoa(i % 50)}))
			}
		},
		func(i int, node string) *model.Endpoint { return mover(i, node, map[string]string{"set": "7"}) },
		func(i int) *model.Policy { return setsPolicy(77, 27, 68, 100+i) },
	},
	{
		// A block list of 50,000 blocks before everything, and 50,000 pods in 20
		// groups that may reach each other; 100 of them here.
		"blocks",
		func(ix *index.Index) {
			nets := make([]netip.Prefix, 50_000)
			for i := range nets {
				nets[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{64 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24+i%3)
			}
			ix.Upsert(&model.NetworkSet{Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: "bad"}, Labels: map[string]string{"set": "bad"}, Nets: nets})
			for i := range 1000 {
				ix.Upsert(blocksPolicy(i, i%7))
			}
			for i := range 50_000 {
				node := elsewhere
				if i < 100 {
					node = here
				}
				ix.Upsert(benchPod(i, node, map[string]string{"group": strconv.Itoa(i % 20)}))
			}
		},
		func(i int, node string) *model.Endpoint { return mover(i, node, map[string]string{"group": "7"}) },
		func(i int) *model.Policy { return blocksPolicy(77, i) },
	},
}

func benchAddr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func benchPod(i int, node string, labels map[string]string) *model.Endpoint {
	return &model.Endpoint{
		Ref:  model.Ref{Kind: model.KindPod, Namespace: "ns", Name: "pod-" + strconv.Itoa(i)},
		Node: node, Labels: labels, Addrs: []netip.Addr{benchAddr(i)},
	}
}

// mover is a pod that has another address each time.
func mover(i int, node string, labels map[string]string) *model.Endpoint {
	p := benchPod(1<<22+i, node, labels)
	p.Ref.Name = "mover-" + node
	return p
}

func benchSet(i, size int, next *int) *model.NetworkSet {
	name := strconv.Itoa(i)
	nets := make([]netip.Prefix, size)
	for j := range nets {
		nets[j] = netip.PrefixFrom(benchAddr(*next), 32)
		*next++
	}
	return &model.NetworkSet{Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: name}, Labels: map[string]string{"set": name}, Nets: nets}
}

// benchPolicy selects pods and has rules that allow TCP from peers, the one of
// number j to port+j unless port is 0.
func benchPolicy(name string, order float64, pods *selector.Selector, port int, peers ...*selector.Selector) *model.Policy {
	p := &model.Policy{
		Ref:  model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "policy-" + name},
		Tier: model.TierDefault, Order: order, Ingress: true,
		Selector: selector.And(pods, selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)),
	}
	for j, peer := range peers {
		r := model.Rule{Index: j, Action: model.Allow, Match: model.Match{
			Protocol: model.TCP,
			Source:   model.Peer{Selector: selector.And(peer, selector.NotEqual(model.LabelKind, model.OwnerNode))},
		}}
		if port > 0 {
			r.Match.Destination.Ports = []model.Port{{First: uint16(port + j), Last: uint16(port + j)}}
		}
		p.IngressRules = append(p.IngressRules, r)
	}
	return p
}

func teamLabels(team, i int) map[string]string {
	return map[string]string{"team": strconv.Itoa(team), "app": strconv.Itoa(i % 10)}
}

func teamPolicy(team, i, port int) *model.Policy {
	app := func(n int) *selector.Selector {
		return selector.And(selector.Equal("team", strconv.Itoa(team)), selector.Equal("app", strconv.Itoa(n%10)))
	}
	return benchPolicy(strconv.Itoa(team)+"-"+strconv.Itoa(i), 10, app(i), port, app(i+1), app(i+2))
}

func marker(i int) string { return "marker-" + strconv.Itoa(i%30) }

func markerPolicy(i, shift int) *model.Policy {
	peers := make([]*selector.Selector, 5)
	for j := range peers {
		peers[j] = selector.Has(marker(i*5 + j + shift))
	}
	return benchPolicy(strconv.Itoa(i), float64(i%7), selector.Has(marker(i)), 0, peers...)
}

// setsPolicy allows n network sets to pods of an app.
func setsPolicy(i, app, n, port int) *model.Policy {
	total := map[int]int{10: 2000, 68: 3708}[n]
	peers := make([]*selector.Selector, n)
	for j := range peers {
		peers[j] = selector.Equal("set", strconv.Itoa((i*n+j)%total))
	}
	return benchPolicy(strconv.Itoa(i), float64(i), selector.Equal("app", strconv.Itoa(app)), port, peers...)
}

func blocksPolicy(i, shift int) *model.Policy {
	peers := make([]*selector.Selector, 3)
	for j := range peers {
		peers[j] = selector.Equal("group", strconv.Itoa((i*3+j+shift)%20))
	}
	p := benchPolicy(strconv.Itoa(i), float64(i%7), selector.Equal("group", strconv.Itoa(i%20)), 0, peers...)
	deny := p.IngressRules[0]
	deny.Action, deny.Match.Protocol = model.Deny, model.AnyProtocol
	deny.Match.Source.Selector = selector.And(selector.Equal("set", "bad"), selector.NotEqual(model.LabelKind, model.OwnerNode))
	p.IngressRules = append([]model.Rule{deny}, p.IngressRules...)
	for j := range p.IngressRules {
		p.IngressRules[j].Index = j
	}
	return p
}
