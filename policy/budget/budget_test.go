package budget

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func sized(name string, entries int, created int64) *model.Policy {
	return &model.Policy{Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: name}, Tier: model.TierDefault, Entries: entries, Created: created}
}

func TestPast(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects []model.Object
		limit   int
		want    string
	}{
		{"all fit", []model.Object{sized("p", 60, 1), sized("q", 40, 2)}, 100, ""},
		{"the youngest is past", []model.Object{sized("a-young", 60, 2), sized("old", 60, 1)}, 100, "a-young"},
		{"of one age the last by name", []model.Object{sized("q", 60, 1), sized("p", 60, 1)}, 100, "q"},
		{"a smaller one fits behind a large one", []model.Object{sized("p", 60, 1), sized("q", 60, 2), sized("r", 40, 3)}, 100, "q"},
		{"an old one that grows takes the place of the young", []model.Object{sized("p", 90, 1), sized("q", 20, 2)}, 100, "q"},
		{"policies of an earlier tier count first, whatever their age", []model.Object{
			sized("p", 60, 1), &model.NetworkSet{Ref: model.Ref{Kind: model.KindNetworkSet, Namespace: "a", Name: "s"}, Nets: nets(59)},
			&model.Policy{Ref: model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: "a", Name: "first"}, Tier: "security", Entries: 90, Created: 9},
		}, 100, "p"},
		{"sets count before policies", []model.Object{
			sized("p", 60, 1), &model.NetworkSet{Ref: model.Ref{Kind: model.KindNetworkSet, Namespace: "a", Name: "s"}, Nets: nets(59)},
		}, 100, "p"},
		{"sets are never past, and leave nothing to policies", []model.Object{
			sized("p", 1, 1), &model.NetworkSet{Ref: model.Ref{Kind: model.KindNetworkSet, Namespace: "a", Name: "s"}, Nets: nets(500)},
		}, 100, "p"},
		{"global and other namespaces' ones do not count", []model.Object{
			sized("p", 60, 1), &model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "g"}, Entries: 1000},
			&model.Policy{Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "b", Name: "p"}, Entries: 1000},
		}, 100, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b Book
			for range 2 { // replacing an item counts it once
				for _, o := range tc.objects {
					if i, ok := ItemOf(o); ok {
						b.Set(i)
					}
				}
			}
			got := ""
			for _, i := range b.Past("a", tc.limit, OrderOf(append([]*model.Tier{{Name: "security"}}, model.BuiltinTiers()...))) {
				got += i.Ref.Name
			}
			if got != tc.want {
				t.Errorf("past the limit: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBook(t *testing.T) {
	var b Book
	for n := range 3 {
		for i := range n + 1 {
			b.Set(Item{Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: fmt.Sprint(n), Name: fmt.Sprint(i)}, Entries: 10})
		}
	}
	if got := fmt.Sprint(b.Namespaces()); got != "[2 1 0]" {
		t.Errorf("namespaces %s", got)
	}
	for i := range 3 {
		b.Delete(model.Ref{Kind: model.KindNetworkPolicy, Namespace: "2", Name: fmt.Sprint(i)})
	}
	if n := b.Entries("2"); n != 0 || len(b.Namespaces()) != 2 {
		t.Errorf("%d entries are left of an empty namespace", n)
	}
	b.Delete(model.Ref{Namespace: "nowhere"})
}

func nets(n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	return out
}

// TestFormOf: agents of earlier versions report what is in force in words alone.
func TestFormOf(t *testing.T) {
	for _, tt := range []struct {
		message string
		want    v1alpha1.PastBudgetForm
	}{
		{"the same, until the agent starts anew: then deny all that it governs", v1alpha1.PastBudgetCurrent},
		{"its previous version, and deny what that does not govern", v1alpha1.PastBudgetNarrowed},
		{"its previous version", v1alpha1.PastBudgetPrevious},
		{"deny all that it governs", v1alpha1.PastBudgetDenyAll},
		{Describe(v1alpha1.PastBudgetCurrent), v1alpha1.PastBudgetCurrent},
		{Describe(v1alpha1.PastBudgetNarrowed), v1alpha1.PastBudgetNarrowed},
		{Describe(v1alpha1.PastBudgetPrevious), v1alpha1.PastBudgetPrevious},
		{Describe(v1alpha1.PastBudgetDenyAll), v1alpha1.PastBudgetDenyAll},
		{"what no version has said", ""},
	} {
		f := &v1alpha1.FailedPolicy{Message: "instead of it holds: " + tt.message + "; " + Past + ": 13"}
		if got := FormOf(f); got != tt.want {
			t.Errorf("%s: %q, want %q", f.Message, got, tt.want)
		}
		f.PastBudget = v1alpha1.PastBudgetNarrowed
		if got := FormOf(f); got != v1alpha1.PastBudgetNarrowed {
			t.Errorf("%s: %q in place of the field", f.Message, got)
		}
	}
	if got := FormOf(&v1alpha1.FailedPolicy{Message: "instead of it holds: its previous version; the kernel does not take it"}); got != "" {
		t.Errorf("a policy that the kernel does not take: %q", got)
	}
}
