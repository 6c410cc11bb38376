package cmd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/policy/budget"
)

// statusBudgets is what is past the budgets of namespaces and nodes.
type statusBudgets struct {
	// Message says that budgets are not enforced, and what to do; empty: they are.
	Message string `json:"message,omitempty"`
	// Nodes with objects or pods past a budget, by name.
	Nodes []statusBudgetNode `json:"nodes"`
}

// statusBudgetNode is how many policies and pods are past a budget on a node.
type statusBudgetNode struct {
	Node    string `json:"node"`
	Objects int32  `json:"objects"`
	// Instead counts the policies among them by what the node holds of each, as far as its
	// report lists them.
	Instead map[v1alpha1.PastBudgetForm]int32 `json:"instead,omitempty"`
}

// budgets sums up the reports of the agents; tw may be nil.
func (r *statusReport) budgets(tw *v1alpha1.Tierwall) {
	r.Budgets.Nodes = []statusBudgetNode{}
	if tw != nil {
		c := meta.FindStatusCondition(tw.Status.Conditions, operator.ConditionBudgetsEnforced)
		if c != nil && c.Status == metav1.ConditionFalse {
			r.Budgets.Message = c.Message
		}
	}
	for i := range r.Agents {
		report := &r.Agents[i].Report
		n := statusBudgetNode{Node: r.Agents[i].Node, Objects: report.Counts.PastBudget}
		if n.Objects == 0 {
			continue
		}
		for j := range report.Failed {
			if form := budget.FormOf(&report.Failed[j]); form != "" {
				if n.Instead == nil {
					n.Instead = map[v1alpha1.PastBudgetForm]int32{}
				}
				n.Instead[form]++
			}
		}
		r.Budgets.Nodes = append(r.Budgets.Nodes, n)
	}
}

// instead lists what a node holds in the place of policies, the most frequent first.
func (n *statusBudgetNode) instead() string {
	forms := slices.SortedFunc(maps.Keys(n.Instead), func(x, y v1alpha1.PastBudgetForm) int {
		return cmp.Or(cmp.Compare(n.Instead[y], n.Instead[x]), cmp.Compare(x, y))
	})
	var out []string
	for _, f := range forms {
		out = append(out, fmt.Sprintf("%d %s", n.Instead[f], plain(string(f))))
	}
	return dash(strings.Join(out, ", "))
}

// print writes the message, and what is past a budget.
func (b *statusBudgets) print(s streams, c colours) error {
	if b.Message != "" {
		if _, err := fmt.Fprintln(s.out, "\n"+c.yellow(plain(b.Message))+" (docs/budgets.md)"); err != nil {
			return err
		}
	}
	if len(b.Nodes) == 0 {
		return nil
	}
	t := &table{}
	t.row("NODE", "PAST BUDGET", "INSTEAD")
	for i := range b.Nodes {
		n := &b.Nodes[i]
		t.row(plain(n.Node), fmt.Sprint(n.Objects), n.instead())
	}
	return t.writeTo(s.out, "")
}
