package lint

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/budget"
)

// policiesTooLarge reports the policies past the budget of their namespace, and the pods past that
// of their node. They are the ones that an agent denies by when it starts.
func (l *linter) policiesTooLarge() {
	past := budget.Over(l.ix)
	for _, e := range past {
		f := Finding{Severity: Error, Code: CodePolicyTooLarge, Object: e.Ref, Message: fmt.Sprintf("has %d entries and is %s; %s", e.Entries, e.Reason(), e.Instead())}
		if e.Counted {
			f.Severity = Warning
		}
		l.add(f)
	}
	for _, p := range budget.OverNodes(l.ix, past) {
		f := Finding{Severity: Error, Code: CodePodsPastBudget, Object: p.Pods[0], Message: fmt.Sprintf("on node %s: %s; %s", p.Node, p.Reason, p.Instead())}
		if n := len(p.Pods); n > 1 {
			f.Message = fmt.Sprintf("and %d more pods of the namespace %s", n-1, f.Message)
		}
		if p.Counted {
			f.Severity = Warning
		}
		l.add(f)
	}
}
