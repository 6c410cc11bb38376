package index

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// byNameWalk is Index.ByName by a walk over all local endpoints.
func (ix *Index) byNameWalk() []model.Ref {
	var out []model.Ref
	for r, e := range ix.reported {
		if e.Effective != nil && e.Effective.ByName {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, model.Ref.Compare)
	return out
}

// byNameFollower keeps the addresses of the endpoints with rules by name.
type byNameFollower map[model.Ref][]netip.Addr

// follow compares what a Delta says of the endpoints with rules by name with all of them.
func (f *byNameFollower) follow(ix *Index, d *Delta) error {
	refs := ix.ByName()
	if walked := ix.byNameWalk(); !slices.Equal(refs, walked) {
		return fmt.Errorf("rules by name have %v, want %v", refs, walked)
	}
	now := byNameFollower{}
	for _, r := range refs {
		now[r] = ix.reported[r].Endpoint.Addrs
	}
	if !d.ByName && !maps.EqualFunc(now, *f, slices.Equal[[]netip.Addr]) {
		return fmt.Errorf("endpoints with rules by name are %v, were %v, and the Delta says nothing of it", now, *f)
	}
	*f = now
	return nil
}

// TestByNameIsReported: a Delta says so when an endpoint with rules by name comes, goes
// or has other addresses, and only then.
func TestByNameIsReported(t *testing.T) {
	const label = "app"
	pod := func(name, app string, last byte) *model.Endpoint {
		return &model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "ns", Name: name}, Node: "n0",
			Labels: map[string]string{label: app}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, last})},
		}
	}
	policy := &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: "default", Selector: selector.Equal(label, "web"), Egress: true,
	}
	rule := model.Rule{Action: model.Allow}
	named, err := names.ParsePattern("a.example")
	if err != nil {
		t.Fatal(err)
	}
	rule.Match.Destination.Domains = []names.Pattern{named}
	policy.EgressRules = []model.Rule{rule}
	other := *policy
	other.EgressRules = []model.Rule{{Action: model.Allow}}
	ix := New(Options{Local: func(node string) bool { return node == "n0" }})
	for _, step := range []struct {
		what string
		do   func()
		want bool
		have int
	}{
		{"pods without rules", func() { ix.Upsert(pod("a", "web", 1)); ix.Upsert(pod("b", "db", 2)) }, false, 0},
		{"a rule by name", func() { ix.Upsert(policy) }, true, 1},
		{"another pod without", func() { ix.Upsert(pod("c", "db", 3)) }, false, 1},
		{"another pod with", func() { ix.Upsert(pod("d", "web", 4)) }, true, 2},
		{"another address of one", func() { ix.Upsert(pod("d", "web", 5)) }, true, 2},
		{"another address of one without", func() { ix.Upsert(pod("c", "db", 6)) }, false, 2},
		{"one loses its rule with its label", func() { ix.Upsert(pod("d", "db", 5)) }, true, 1},
		{"a pod of another node", func() { e := pod("e", "web", 7); e.Node = "n1"; ix.Upsert(e) }, false, 1},
		{"the rule has no name any more", func() { ix.Upsert(&other) }, true, 0},
		{"a rule by name again", func() { ix.Upsert(policy) }, true, 1},
		{"the pod goes", func() { ix.Delete(pod("a", "web", 1).Key()) }, true, 0},
	} {
		step.do()
		if d := ix.Flush(); d.ByName != step.want || len(ix.ByName()) != step.have {
			t.Errorf("%s: reported %v, want %v; %v have such rules, want %d", step.what, d.ByName, step.want, ix.ByName(), step.have)
		}
	}
}

// BenchmarkByName lists the three local endpoints that have rules by name.
func BenchmarkByName(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		ix := New(Options{})
		effective := &Effective{ByName: true}
		for i := range n {
			r := model.Ref{Kind: model.KindPod, Namespace: "ns", Name: fmt.Sprint("pod-", i)}
			e := &Effective{}
			if i%(n/3) == 1 {
				e = effective
			}
			ix.reported[r] = EndpointDelta{Ref: r, Effective: e}
			ix.noteByName(r, e)
		}
		for _, how := range []struct {
			name string
			list func() []model.Ref
		}{{"walk", ix.byNameWalk}, {"list", ix.ByName}} {
			b.Run(fmt.Sprintf("%d/%s", n, how.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if len(how.list()) != 3 {
						b.Fatal("not three")
					}
				}
			})
		}
	}
}
