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
