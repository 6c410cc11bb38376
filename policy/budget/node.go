package budget

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Groups are what pods of a namespace cost a node: those that the same policies of their
// namespace select are a group, which has all rules of these once.
type Groups struct {
	of   map[model.Ref]string // the group of a pod that has policies
	cost map[string]int       // of a group, in entries
	sum  int
}

// GroupsOf groups the pods that policies of one namespace select, by the node that nodeOf
// names of each; ok is false for those that do not count. The policies are those that the
// index has.
func GroupsOf(ix *index.Index, policies []*model.Policy, nodeOf func(model.Ref) (node string, ok bool)) map[string]*Groups {
	of, costs := map[model.Ref]string{}, map[model.Ref]int{}
	for i, p := range policies {
		for _, r := range ix.Selected(p.Ref) {
			of[r] += fmt.Sprint(i, " ")
			costs[r] += p.Entries
		}
	}
	out := map[string]*Groups{}
	for r, key := range of {
		node, ok := nodeOf(r)
		if !ok {
			continue
		}
		g := out[node]
		if g == nil {
			g = &Groups{of: map[model.Ref]string{}, cost: map[string]int{}}
			out[node] = g
		}
		g.of[r] = key
		if _, known := g.cost[key]; !known {
			g.cost[key] = costs[r]
			g.sum += costs[r]
		}
	}
	return out
}

// Entries is what all groups cost.
func (g *Groups) Entries() int { return g.sum }

// Past returns the pods, in the order in which they are to count, that are past a share:
// those whose group does not fit into what those before it leave.
func (g *Groups) Past(pods []model.Ref, share int) (past []model.Ref) {
	has := map[string]bool{}
	for _, r := range pods {
		key, governed := g.of[r]
		switch {
		case !governed || has[key]:
		case g.cost[key] <= share:
			has[key] = true
			share -= g.cost[key]
		default:
			past = append(past, r)
		}
	}
	return past
}

// Reason says by how much a namespace is past its share of a node's budget.
func (g *Groups) Reason(namespace string, share int) string {
	return fmt.Sprintf("the policies of namespace %s have %d entries on the node, for each group of pods that they select, more than its share of %d", namespace, g.sum, share)
}

// Share is how much a namespace may have on a node where all of them together may have
// so much, and have so much each: as much as it wants where all do with it, and else the
// same for all that want more.
func Share(limit int, sums []int) int {
	sums = slices.Sorted(slices.Values(sums))
	share := limit
	for i, sum := range sums {
		if share = limit / (len(sums) - i); sum > share {
			return share
		}
		limit -= sum
	}
	return max(share, limit) // all fit
}

// PodsPast are the pods of a namespace that are past its share of a node's budget.
type PodsPast struct {
	Node, Namespace string
	// Pods in the order of their names.
	Pods []model.Ref
	// Reason says by how much.
	Reason string
	// Counted reports that budgets are not enforced: the pods have their policies.
	Counted bool
}

// Instead describes what holds of the pods.
func (p *PodsPast) Instead() string {
	if p.Counted {
		return "they are denied everything once budgets are enforced and the agent restarts"
	}
	return "a restarted agent denies them everything; a running one denies the pods that came last"
}

// ApplyNodes has the pods denied that are past the budget of their node, as a
// restarted agent does, and returns them by node and namespace. It follows Apply, which has
// returned what is past the budgets of namespaces, and the caller flushes the index after
// it. With mode Count nothing is changed, and with Off none is past it.
func ApplyNodes(ix *index.Index, policies []Excess) []PodsPast {
	past := OverNodes(ix, policies)
	for i := range past {
		for _, r := range past[i].Pods {
			if e, ok := ix.Endpoint(r); ok && !past[i].Counted {
				e.Denied = true
				ix.Upsert(e)
			}
		}
	}
	return past
}

// OverNodes returns what ApplyNodes would have denied, and changes nothing. Policies past
// the budget of their namespace count as what stands in for them, whether the index has
// that or, after Over alone, has them as they are written.
func OverNodes(ix *index.Index, past []Excess) (out []PodsPast) {
	set := ix.Settings().Budgets
	if set.Mode == model.GuardOff {
		return nil
	}
	all := map[model.Ref]*model.Policy{}
	for _, p := range ix.Policies() {
		all[p.Ref] = p
	}
	for i := range past {
		p := *ix.Policy(past[i].Ref)
		if !past[i].Counted && !past[i].Kept {
			p.Entries = 1
		}
		all[p.Ref] = &p
		if beside := ix.Policy(CompanionOf(p.Ref)); beside != nil {
			all[beside.Ref] = beside
		}
	}
	policies, entries := map[string][]*model.Policy{}, map[string]int{}
	for r, p := range all {
		if r.Namespace != "" {
			policies[r.Namespace] = append(policies[r.Namespace], p)
			entries[r.Namespace] += p.Entries
		}
	}
	nodes, most := map[model.Ref]string{}, map[string]int{} // most is what can be on a node
	for _, r := range ix.Endpoints() {
		if e, ok := ix.Endpoint(r); ok && r.Kind == model.KindPod && e.Node != "" && entries[r.Namespace] > 0 {
			nodes[r] = e.Node
			most[e.Node] += entries[r.Namespace]
		}
	}
	maps.DeleteFunc(nodes, func(_ model.Ref, node string) bool { return most[node] <= set.Node })
	pods := map[string]map[string][]model.Ref{} // by namespace and node
	for r, node := range nodes {
		if pods[r.Namespace] == nil {
			pods[r.Namespace] = map[string][]model.Ref{}
		}
		pods[r.Namespace][node] = append(pods[r.Namespace][node], r)
	}
	groups, sums := map[string]map[string]*Groups{}, map[string][]int{}
	for ns := range pods {
		groups[ns] = GroupsOf(ix, policies[ns], func(r model.Ref) (string, bool) {
			node, counts := nodes[r]
			return node, counts
		})
		for node, g := range groups[ns] {
			sums[node] = append(sums[node], g.sum)
		}
	}
	for ns, byNode := range groups {
		for node, g := range byNode {
			share := Share(set.Node, sums[node])
			if g.sum <= share {
				continue
			}
			list := pods[ns][node]
			slices.SortFunc(list, model.Ref.Compare)
			if list = g.Past(list, share); len(list) > 0 {
				out = append(out, PodsPast{Node: node, Namespace: ns, Pods: list, Reason: Past + " of the node: " + g.Reason(ns, share), Counted: set.Mode == model.GuardCount})
			}
		}
	}
	slices.SortFunc(out, func(x, y PodsPast) int {
		return cmp.Or(strings.Compare(x.Node, y.Node), strings.Compare(x.Namespace, y.Namespace))
	})
	return out
}
