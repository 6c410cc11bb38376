package agent

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestLarge asks whether a namespace's pods, with more policies to come, have more than
// is done at a time.
func TestLarge(t *testing.T) {
	ix := index.New(index.Options{})
	in := &intake{node: &node{ix: ix}, budgets: newBudgets()}
	ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "web"}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Labels: map[string]string{"app": "web"}})
	policy := func(name, app string, entries int) {
		p := &model.Policy{Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "shop", Name: name}, Selector: selector.Equal("app", app), Ingress: true, Entries: entries}
		ix.Upsert(p)
		i, _ := budget.ItemOf(p)
		in.budgets.book.Set(i)
	}
	policy("web", "web", 699) // counts one more itself
	policy("other", "other", 5000)
	ix.Flush()
	for _, c := range []struct {
		more int
		want bool
	}{{0, false}, {partSize - 700, false}, {partSize - 699, true}, {5000, true}, {6000, true}} {
		if got := in.large("shop", c.more); got != c.want {
			t.Errorf("%d more: %t", c.more, got)
		}
	}
	policy("other", "other", 0)
	if !in.large("shop", 600) || in.large("empty", partSize) || !in.large("empty", partSize+1) {
		t.Error("what is to come does not count")
	}
}
