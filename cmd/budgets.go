package cmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// maxBudgetWarnings is how many policies of a namespace a command names one by one.
const maxBudgetWarnings = 5

// pastBudgets are the policies past the budget of their namespace, and the pods past that
// of their node.
type pastBudgets struct {
	policies []budget.Excess
	pods     []budget.PodsPast
}

// applyBudgets puts what agents enforce of what is past a budget into the index of
// objects, which the caller flushes, and returns it.
func applyBudgets(r *manifests.Result, ix *index.Index) pastBudgets {
	policies := budget.Apply(ix, inForce(r, ix))
	return pastBudgets{policies, budget.ApplyNodes(ix, policies)}
}

// inForce returns the version of a policy past its budget that is in force, nil: none is.
// Where files are laid over a cluster that is what the cluster has; of a cluster's own
// objects only those are known whose version is the one at hand.
func inForce(r *manifests.Result, ix *index.Index) func(model.Ref) *model.Policy {
	var before *index.Index
	return func(ref model.Ref) *model.Policy {
		if r.Before() == nil {
			if same, others := holding(r, ref); same > 0 && len(others) == 0 {
				return ix.Policy(ref)
			}
			return nil
		}
		if before == nil {
			before = enforcedIndex(r.Before())
		}
		return before.Policy(ref)
	}
}

// holding counts the nodes that report that a policy past its budget is in force there as
// it is, and names those where an earlier version is.
func holding(r *manifests.Result, ref model.Ref) (same int, others []string) {
	for i := range r.Objects {
		report, ok := r.Objects[i].Object.(*v1alpha1.NodeReport)
		if !ok {
			continue
		}
		for j := range report.Report.Failed {
			f := &report.Report.Failed[j]
			if f.Policy != ref.String() {
				continue
			}
			switch budget.FormOf(f) {
			case v1alpha1.PastBudgetCurrent:
				same++
			case v1alpha1.PastBudgetPrevious, v1alpha1.PastBudgetNarrowed:
				others = append(others, report.Name)
			}
		}
	}
	return same, others
}

// enforcedIndex is the index of objects as agents enforce them, flushed.
func enforcedIndex(r *manifests.Result) *index.Index {
	ix, _ := r.Index()
	applyBudgets(r, ix)
	ix.Flush()
	return ix
}

// warnBudgets names what is past a budget, and what the command takes it for.
func warnBudgets(s streams, r *manifests.Result, found pastBudgets) {
	past := found.policies
	var problems []model.Problem
	more := map[string]int{} // by namespace
	for i := range past {
		e := &past[i]
		if more[e.Ref.Namespace]++; more[e.Ref.Namespace] > maxBudgetWarnings {
			continue
		}
		text := e.Reason() + "; " + e.Instead()
		if _, others := holding(r, e.Ref); r.Before() == nil && !e.Counted && len(others) > 0 {
			text += fmt.Sprintf(" (on %s an earlier version is in force, which only the agent has)", strings.Join(others, ", "))
		}
		problems = append(problems, model.Problem{Object: e.Ref, Warning: true, Message: text})
	}
	for _, p := range r.Locate(problems) {
		s.warn("%s", p.Error)
	}
	for _, ns := range slices.Sorted(maps.Keys(more)) {
		if n := more[ns] - maxBudgetWarnings; n > 0 {
			s.warn("namespace %s has %d more policies past its budget", ns, n)
		}
	}
	for i := range found.pods[:min(len(found.pods), maxBudgetWarnings)] {
		s.warn("%s", describePods(&found.pods[i]))
	}
	if n := len(found.pods) - maxBudgetWarnings; n > 0 {
		s.warn("nodes and namespaces with pods past the budget of their node that are not named here: %d", n)
	}
}

// describePods says which pods are past the budget of their node, and what becomes of them.
func describePods(p *budget.PodsPast) string {
	var names []string
	for _, r := range p.Pods[:min(len(p.Pods), maxBudgetWarnings)] {
		names = append(names, r.String())
	}
	list := strings.Join(names, ", ")
	if n := len(p.Pods) - maxBudgetWarnings; n > 0 {
		list += fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("Node/%s: %s: %s; %s", p.Node, list, p.Reason, p.Instead())
}
