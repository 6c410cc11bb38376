package lint

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/budget"
)

// policiesTooLarge reports the policies past the budget of their namespace. They are the ones
// that an agent denies by when it starts.
func (l *linter) policiesTooLarge() {
	for _, e := range budget.Over(l.ix) {
		f := Finding{Severity: Error, Code: CodePolicyTooLarge, Object: e.Ref, Message: fmt.Sprintf("has %d entries and is %s; %s", e.Entries, e.Reason(), e.Instead())}
		if e.Counted {
			f.Severity = Warning
		}
		l.add(f)
	}
}
