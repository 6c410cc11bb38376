package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/model"
)

// nodeBudget holds what pods of namespaces cost the node to its budget
// (model.Budgets.Node): each group of pods that the same policies of their namespace
// select has all rules of these. A pod whose group is past its namespace's share is
// denied all, as a ghost is. Which ones are follows from the objects, but for pods that
// are in force as they are: these come first.
type nodeBudget struct {
	// pods are the local ones, by namespace, and open the namespaces of which they or
	// the policies have changed.
	pods map[string]map[model.Ref]*model.Endpoint
	open map[string]struct{}
	// groups are what the pods of namespaces cost; nil where that does not matter.
	groups map[string]*budget.Groups
	// fresh are the pods that are new in this round, denied those past the budget, and why.
	fresh  map[model.Ref]struct{}
	denied map[model.Ref]error
	past   int // pods past the budget, denied or not
}

func newNodeBudget() nodeBudget {
	return nodeBudget{
		pods: map[string]map[model.Ref]*model.Endpoint{}, open: map[string]struct{}{}, groups: map[string]*budget.Groups{},
		fresh: map[model.Ref]struct{}{}, denied: map[model.Ref]error{},
	}
}

// notePod takes a pod that is new, changed or, with nil, gone.
func (in *intake) notePod(r model.Ref, e *model.Endpoint) {
	n := &in.budgets.node
	pods := n.pods[r.Namespace]
	if e == nil || !in.local(e.Node) {
		if pods[r] == nil {
			return
		}
		if delete(pods, r); len(pods) == 0 {
			delete(n.pods, r.Namespace)
		}
		delete(n.fresh, r)
		in.admitPod(r)
		n.open[r.Namespace] = struct{}{}
		return
	}
	if pods == nil {
		pods = map[model.Ref]*model.Endpoint{}
		n.pods[r.Namespace] = pods
	}
	if pods[r] == nil {
		n.fresh[r] = struct{}{}
	}
	pods[r] = e
	n.open[r.Namespace] = struct{}{}
}

// pastBudgetGhost names what stands in for a pod past the budget.
func pastBudgetGhost(r model.Ref) model.Ref {
	return model.GhostRef(r.Namespace, r.Name, "past-budget")
}

// admitPod ends that a pod is denied; what there is of it is put into the index again.
func (in *intake) admitPod(r model.Ref) {
	n := &in.budgets.node
	if _, was := n.denied[r]; !was {
		return
	}
	delete(n.denied, r)
	in.put(pastBudgetGhost(r), nil)
	if e := n.pods[r.Namespace][r]; e != nil {
		in.put(r, e)
	}
}

// denyPod has a pod denied all.
func (in *intake) denyPod(r model.Ref, why error) {
	e := in.budgets.node.pods[r.Namespace][r]
	in.budgets.node.denied[r] = why
	in.put(r, nil)
	in.put(pastBudgetGhost(r), &model.Endpoint{Ref: pastBudgetGhost(r), Node: e.Node, Addrs: e.Addrs})
}

// settleNodeBudget decides which pods are past the node's budget. The policies of their
// namespaces are in the index as they are to be.
func (in *intake) settleNodeBudget() {
	n, set := &in.budgets.node, in.budgets.set
	if len(n.open) == 0 {
		return
	}
	defer func() {
		clear(n.open)
		clear(n.fresh)
	}()
	most := 0 // that it can be
	for ns, pods := range n.pods {
		most += len(pods) * in.budgets.most(ns)
	}
	if set.Mode == model.GuardOff || most <= set.Node {
		for _, r := range slices.SortedFunc(maps.Keys(n.denied), model.Ref.Compare) {
			in.admitPod(r)
		}
		clear(n.groups)
		n.past = 0
		return
	}
	before := maps.Clone(n.denied)
	for _, r := range slices.SortedFunc(maps.Keys(before), model.Ref.Compare) {
		in.admitPod(r)
		n.open[r.Namespace] = struct{}{}
	}
	in.groupPods()
	var sums []int
	for _, g := range n.groups {
		sums = append(sums, g.Entries())
	}
	share := budget.Share(set.Node, sums)
	n.past = 0
	for _, ns := range slices.Sorted(maps.Keys(n.groups)) {
		if g := n.groups[ns]; g.Entries() > share {
			in.holdPods(ns, share, before)
		}
	}
	for r, err := range n.denied {
		if before[r] == nil {
			in.log.Warn("pod is past the budget of the node and denied all", "pod", r.String(), "reason", err)
		}
	}
}

// groupPods brings the groups of namespaces that have changed up to date.
func (in *intake) groupPods() {
	n := &in.budgets.node
	maps.DeleteFunc(n.groups, func(ns string, _ *budget.Groups) bool { return n.pods[ns] == nil })
	for ns, pods := range n.pods {
		if _, open := n.open[ns]; open || n.groups[ns] == nil {
			groups := budget.GroupsOf(in.ix, in.inForce(ns), func(r model.Ref) (string, bool) { return in.opts.Node, pods[r] != nil })
			n.groups[ns] = cmp.Or(groups[in.opts.Node], &budget.Groups{})
		}
	}
}

// inForce are the policies of a namespace that are in the index.
func (in *intake) inForce(ns string) (out []*model.Policy) {
	for _, r := range in.budgets.book.Refs(ns) {
		for _, r := range []model.Ref{r, budget.CompanionOf(r)} {
			if p := in.ix.Policy(r); p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// holdPods denies the pods of a namespace that are past its share; before are those that
// have been denied.
func (in *intake) holdPods(ns string, share int, before map[model.Ref]error) {
	n := &in.budgets.node
	g := n.groups[ns]
	rank := func(r model.Ref) int {
		if _, fresh := n.fresh[r]; in.synced && !fresh && before[r] == nil && !in.late.holds(ns) {
			return 0 // it is in force
		}
		return 1
	}
	list := slices.SortedFunc(maps.Keys(n.pods[ns]), func(x, y model.Ref) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), x.Compare(y))
	})
	why := fmt.Errorf("%w: %s", errPastNodeBudget, g.Reason(ns, share))
	for _, r := range g.Past(list, share) {
		n.past++
		if in.budgets.set.Mode == model.GuardEnforce {
			in.denyPod(r, why)
		}
	}
}

var errPastNodeBudget = errors.New("past the node's budget")

// deniedPods lists the pods past the budget.
func (in *intake) deniedPods(r *Status) {
	for ref, err := range in.budgets.node.denied {
		r.Held = append(r.Held, Failure{Ref: ref, Err: err, Instead: "deny all"})
	}
}
