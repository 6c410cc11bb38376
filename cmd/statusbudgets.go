package cmd

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
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
		if n := r.Agents[i].Report.Counts.PastBudget; n > 0 {
			r.Budgets.Nodes = append(r.Budgets.Nodes, statusBudgetNode{r.Agents[i].Node, n})
		}
	}
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
	t.row("NODE", "PAST BUDGET")
	for _, n := range b.Nodes {
		t.row(plain(n.Node), fmt.Sprint(n.Objects))
	}
	return t.writeTo(s.out, "")
}
