package lint

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/model"
)

// budgets reports the policies past the budget of their namespace. They are the ones
// that an agent denies by when it starts.
func (l *linter) budgets() {
	set := l.ix.Settings().Budgets
	if set.Mode == model.GuardOff {
		return
	}
	var book budget.Book
	count := func(o model.Object) {
		if i, ok := budget.ItemOf(o); ok {
			book.Set(i)
		}
	}
	for _, p := range l.ix.Policies() {
		count(p)
	}
	for _, r := range l.ix.NetworkSets() {
		count(&model.NetworkSet{Ref: r, Nets: l.ix.NetworkSet(r)})
	}
	order := budget.OrderOf(l.ix.Tiers())
	for _, ns := range book.Namespaces() {
		for _, i := range book.Past(ns, set.Namespace, order) {
			f := Finding{
				Severity: Error, Code: CodePolicyTooLarge, Object: i.Ref,
				Message: fmt.Sprintf("has %d entries and is past the budget of namespace %s: its policies and NetworkSets have %d, and may have %d; it denies all that it governs", i.Entries, ns, book.Entries(ns), set.Namespace),
			}
			if set.Mode == model.GuardCount {
				f.Severity = Warning
				f.Message += " once budgets are enforced"
			}
			l.add(f)
		}
	}
}
