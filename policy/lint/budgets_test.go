package lint

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

func TestPolicyTooLarge(t *testing.T) {
	sized := func(name string, entries int, created int64) model.Object {
		return &model.Policy{
			Ref:  model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: name},
			Tier: model.TierDefault, Selector: selector.None(), Ingress: true, Entries: entries, Created: created,
		}
	}
	set := &model.NetworkSet{Ref: model.Ref{Kind: model.KindNetworkSet, Namespace: "a", Name: "s"}}
	for i := range 50 {
		set.Nets = append(set.Nets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
	}
	settings := func(mode model.Guard) model.Object {
		s := model.DefaultSettings()
		s.Budgets = model.Budgets{Mode: mode, Namespace: 100, Node: 1000}
		return s
	}
	for _, tt := range []struct {
		name    string
		objects []model.Object
		want    string
	}{
		{"within", []model.Object{settings(model.GuardEnforce), sized("p", 49, 1), set}, ""},
		{"the younger is past", []model.Object{settings(model.GuardEnforce), sized("p", 30, 2), sized("q", 40, 1), set}, `error policy-too-large NetworkPolicy/a/p : has 30 entries and is past the budget of namespace a: its policies and NetworkSets have 121, of at most 100; it denies everything that it governs
`},
		{"sets alone", []model.Object{settings(model.GuardEnforce), set, &model.NetworkSet{Ref: model.Ref{Kind: model.KindNetworkSet, Namespace: "a", Name: "t"}, Nets: set.Nets}}, ""},
		{"count", []model.Object{settings(model.GuardCount), sized("p", 200, 2)}, `warning policy-too-large NetworkPolicy/a/p : has 200 entries and is past the budget of namespace a: its policies and NetworkSets have 200, of at most 100; it denies everything that it governs once budgets are enforced
`},
		{"off", []model.Object{settings(model.GuardOff), sized("p", 200, 2)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := found(tt.objects, CodePolicyTooLarge); got != tt.want {
				t.Errorf("%s\nwant%s", got, tt.want)
			}
		})
	}
}

func TestPodsPastBudget(t *testing.T) {
	sized := func(name, app string, entries int) model.Object {
		return &model.Policy{
			Ref:  model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: name},
			Tier: model.TierDefault, Selector: selector.Equal("app", app), Ingress: true, Entries: entries,
		}
	}
	pod := func(i byte, node, name, app string) model.Object {
		return &model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "a", Name: name}, Node: node,
			Labels: map[string]string{"app": app}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, i})},
		}
	}
	settings := func(mode model.Guard, namespace int) model.Object {
		s := model.DefaultSettings()
		s.Budgets = model.Budgets{Mode: mode, Namespace: namespace, Node: 100}
		return s
	}
	world := func(mode model.Guard, namespace int) []model.Object {
		return []model.Object{
			settings(mode, namespace), sized("db", "db", 60), sized("web", "web", 60),
			pod(1, "n1", "d1", "db"), pod(2, "n1", "d2", "db"), pod(3, "n1", "w1", "web"), pod(4, "n1", "w2", "web"),
			pod(5, "n2", "w3", "web"), pod(6, "n2", "o", "other"),
		}
	}
	for _, tt := range []struct {
		name    string
		objects []model.Object
		want    string
	}{
		{"two groups of one node", world(model.GuardEnforce, 1000), `error pods-past-budget Pod/a/w1 : and 1 more pods of the namespace on node n1: past the budget of the node: the policies of namespace a have 120 entries on the node, for each group of pods that they select, more than its share of 100; a restarted agent denies them everything; a running one denies the pods that came last
`},
		{"a policy past the budget of its namespace has nearly none", world(model.GuardEnforce, 100), ""},
		{"count", world(model.GuardCount, 100), `warning pods-past-budget Pod/a/w1 : and 1 more pods of the namespace on node n1: past the budget of the node: the policies of namespace a have 120 entries on the node, for each group of pods that they select, more than its share of 100; they are denied everything once budgets are enforced and the agent restarts
`},
		{"off", world(model.GuardOff, 1000), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := found(tt.objects, CodePodsPastBudget); got != tt.want {
				t.Errorf("%s\nwant%s", got, tt.want)
			}
		})
	}
}
