package tiers

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func TestMessage(t *testing.T) {
	refs := func(n int) []model.Ref {
		out := make([]model.Ref, n)
		for i := range out {
			out[i] = model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: fmt.Sprint("p", i)}
		}
		return out
	}
	own := []model.Ref{{Kind: model.KindTierwallNetworkPolicy, Namespace: "shop", Name: "web"}}
	ten := "GlobalNetworkPolicy/p0, GlobalNetworkPolicy/p1, GlobalNetworkPolicy/p2, GlobalNetworkPolicy/p3, GlobalNetworkPolicy/p4, " +
		"GlobalNetworkPolicy/p5, GlobalNetworkPolicy/p6, GlobalNetworkPolicy/p7, GlobalNetworkPolicy/p8, GlobalNetworkPolicy/p9"
	for _, tc := range []struct {
		inside []model.Ref
		want   string
	}{
		{own, "waits for 1 policy to be deleted or moved to another tier: NetworkPolicy.tierwall.io/shop/web"},
		{refs(2), "waits for 2 policies to be deleted or moved to another tier: GlobalNetworkPolicy/p0, GlobalNetworkPolicy/p1"},
		{refs(10), "waits for 10 policies to be deleted or moved to another tier: " + ten},
		{refs(1010), "waits for 1010 policies to be deleted or moved to another tier: " + ten + " and 1000 more"},
	} {
		if got := message(tc.inside); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

// TestWhichTiers: which tiers are looked at, and when, after a policy has changed.
func TestWhichTiers(t *testing.T) {
	global := func(tier string) *v1alpha1.GlobalNetworkPolicy {
		return &v1alpha1.GlobalNetworkPolicy{Spec: v1alpha1.GlobalNetworkPolicySpec{Tier: tier}}
	}
	local := func(tier string) *v1alpha1.NetworkPolicy {
		return &v1alpha1.NetworkPolicy{Spec: v1alpha1.NetworkPolicySpec{Tier: tier}}
	}
	e := enqueue{settle: time.Second}
	for _, tc := range []struct {
		name  string
		event func(queue)
		want  []string
	}{
		{"comes", func(q queue) { e.Create(t.Context(), event.CreateEvent{Object: global("a")}, q) }, []string{"a"}},
		{"goes", func(q queue) { e.Delete(t.Context(), event.DeleteEvent{Object: local("a")}, q) }, []string{"a"}},
		{"goes, of a built-in tier", func(q queue) { e.Delete(t.Context(), event.DeleteEvent{Object: local("")}, q) }, nil},
		{"stays", func(q queue) {
			e.Update(t.Context(), event.UpdateEvent{ObjectOld: global("a"), ObjectNew: global("a")}, q)
		}, nil},
		{"moves", func(q queue) {
			e.Update(t.Context(), event.UpdateEvent{ObjectOld: local("a"), ObjectNew: local("b")}, q)
		}, []string{"a", "b"}},
		{"moves to tier default", func(q queue) {
			e.Update(t.Context(), event.UpdateEvent{ObjectOld: global("a"), ObjectNew: global("")}, q)
		}, []string{"a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := &recorded{}
			tc.event(q)
			if len(q.after) != len(tc.want) {
				t.Fatalf("looks at %v, want %v", q.after, tc.want)
			}
			for i, tier := range tc.want {
				want := later{reconcile.Request{NamespacedName: types.NamespacedName{Name: tier}}, time.Second}
				if q.after[i] != want {
					t.Errorf("looks at %v, want %v", q.after[i], want)
				}
			}
		})
	}
}

// later is what was put into a queue, and when it is due.
type later struct {
	request reconcile.Request
	after   time.Duration
}

// recorded is a queue that only remembers.
type recorded struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	after []later
}

// AddAfter remembers.
func (q *recorded) AddAfter(r reconcile.Request, d time.Duration) {
	q.after = append(q.after, later{r, d})
}
