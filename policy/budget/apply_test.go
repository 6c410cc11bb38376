package budget

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// allowing is a policy of so many entries that allows all to the pods of an app.
func allowing(name, app string, entries int) *model.Policy {
	p := sized(name, entries, 1)
	p.Selector, p.Order, p.Ingress = selector.Equal("app", app), model.NativeOrder, true
	p.IngressRules = []model.Rule{{Action: model.Allow}}
	return p
}

func indexOf(mode model.Guard, objects ...model.Object) *index.Index {
	ix := index.New(index.Options{})
	s := model.DefaultSettings()
	s.Budgets = model.Budgets{Mode: mode, Namespace: 100, Node: 1000}
	ix.Upsert(s)
	for i, app := range []string{"web", "db"} {
		ix.Upsert(&model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "a", Name: app}, Node: "node", Labels: map[string]string{"app": app},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})},
		})
	}
	for _, o := range objects {
		ix.Upsert(o)
	}
	ix.Flush()
	return ix
}

func applied(ix *index.Index) *index.Index {
	Apply(ix, nil)
	ix.Flush()
	return ix
}

// open names the pods that the world outside reaches.
func open(ix *index.Index) string {
	var out []string
	for _, r := range ix.Endpoints() {
		e, _ := ix.Endpoint(r)
		f := model.Flow{Src: netip.MustParseAddr("203.0.113.1"), Dst: e.Addrs[0], Protocol: model.TCP, DstPort: 80, SrcPort: 40000}
		if d := verdict.Decide(ix, f); d.Action == model.Allow {
			out = append(out, r.Name)
		}
	}
	return strings.Join(out, " ")
}

func TestApply(t *testing.T) {
	within := indexOf(model.GuardEnforce, allowing("p", "web", 60))
	for _, tt := range []struct {
		name    string
		mode    model.Guard
		before  *index.Index // nil: nothing is in force
		objects []model.Object
		want    string
		open    string
	}{
		{"nothing is past", model.GuardEnforce, nil, []model.Object{allowing("p", "web", 100)}, "", "db web"},
		{"one that nothing is in force of denies", model.GuardEnforce, nil, []model.Object{allowing("p", "web", 101)},
			"p: it denies everything that it governs", "db"},
		{"one that grows keeps its version", model.GuardEnforce, within, []model.Object{allowing("p", "web", 101)},
			"p: it keeps its previous version until an agent restarts, and denies everything that it governs then", "db web"},
		{"pods that a version selects newly are denied", model.GuardEnforce, within, []model.Object{allowing("p", "db", 101)},
			"p: it keeps its previous version until an agent restarts, and newly selected pods are denied", "web"},
		{"an old one that grows takes nothing from the young at once", model.GuardEnforce, indexOf(model.GuardEnforce, allowing("p", "web", 40), allowing("q", "db", 60)),
			[]model.Object{allowing("p", "web", 41), allowing("q", "db", 60)},
			"q: it keeps its previous version until an agent restarts, and denies everything that it governs then", "db web"},
		{"what stands in for one is no version of it", model.GuardEnforce, applied(indexOf(model.GuardEnforce, allowing("p", "web", 101))), []model.Object{allowing("p", "web", 102)},
			"p: it denies everything that it governs", "db"},
		{"another one has none", model.GuardEnforce, within, []model.Object{allowing("p", "web", 60), allowing("q", "db", 60)},
			"q: it denies everything that it governs", "web"},
		{"versions that stay are no more than another budget", model.GuardEnforce,
			indexOf(model.GuardOff, allowing("p", "web", 60), allowing("q", "db", 60)),
			[]model.Object{allowing("p", "web", 101), allowing("q", "db", 101)},
			"p: it keeps its previous version until an agent restarts, and denies everything that it governs then; q: it denies everything that it governs", "web"},
		{"count", model.GuardCount, nil, []model.Object{allowing("p", "web", 101)},
			"p: it denies everything that it governs once budgets are enforced", "db web"},
		{"count with a version", model.GuardCount, within, []model.Object{allowing("p", "db", 101)},
			"p: it keeps its previous version until an agent restarts, and newly selected pods are denied once budgets are enforced", "db web"},
		{"off", model.GuardOff, nil, []model.Object{allowing("p", "web", 101)}, "", "db web"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ix := indexOf(tt.mode, tt.objects...)
			var said []string
			var kept func(model.Ref) *model.Policy
			if tt.before != nil {
				kept = tt.before.Policy
			}
			past := Apply(ix, kept)
			ix.Flush()
			for _, e := range past {
				said = append(said, e.Ref.Name+": "+e.Instead())
			}
			if got := strings.Join(said, "; "); got != tt.want {
				t.Errorf("past the budget: %q, want %q", got, tt.want)
			}
			if got := open(ix); got != tt.open {
				t.Errorf("open: %q, want %q", got, tt.open)
			}
		})
	}
}

// TestApplyKeepsSets: a set is never emptied, for a rule that denies may rest on it.
func TestApplyKeepsSets(t *testing.T) {
	set := &model.NetworkSet{Ref: model.Ref{Kind: model.KindNetworkSet, Namespace: "a", Name: "s"}, Nets: nets(500)}
	ix := indexOf(model.GuardEnforce, set, allowing("p", "web", 1))
	past := Apply(ix, nil)
	ix.Flush()
	if got := fmt.Sprint(len(ix.NetworkSet(set.Ref)), " ", len(past), " ", past[0].Ref.Name); got != "500 1 p" {
		t.Errorf("addresses, policies past the budget: %s", got)
	}
}
