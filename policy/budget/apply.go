package budget

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Past begins what is reported of whatever is past a budget.
const Past = "past the budget"

// Excess is a policy past the budget of its namespace.
type Excess struct {
	Item
	// Sum is how many entries its namespace has, and Limit how many it may have.
	Sum, Limit int
	// Counted reports that budgets are not enforced: the policy holds as it is.
	Counted bool
	// Kept reports that a version of it that was in force stays in force (see Apply),
	// Same that it is the one at hand, Narrowed that it does not govern all that the one at
	// hand governs, which is denied.
	Kept, Same, Narrowed bool
}

// Instead describes what holds of the policy.
func (e *Excess) Instead() string {
	text := "it denies everything that it governs"
	switch {
	case e.Narrowed:
		text = "it keeps its previous version until an agent restarts, and newly selected pods are denied"
	case e.Same:
		text = "it is in force until an agent restarts, and denies everything that it governs then"
	case e.Kept:
		text = "it keeps its previous version until an agent restarts, and denies everything that it governs then"
	}
	if e.Counted {
		text += " once budgets are enforced"
	}
	return text
}

// Reason says by how much its namespace is past the budget.
func (e *Excess) Reason() string {
	return fmt.Sprintf(Past+" of namespace %s: its policies and NetworkSets have %d, of at most %d", e.Ref.Namespace, e.Sum, e.Limit)
}

// Over returns the policies of an index, which is flushed, that are past the budget of their namespace, by
// namespace, those with most entries first, in the order of Book.Past. None is with mode
// Off.
func Over(ix *index.Index) (out []Excess) {
	set := ix.Settings().Budgets
	if set.Mode == model.GuardOff {
		return nil
	}
	var book Book
	count := func(o model.Object) {
		if i, ok := ItemOf(o); ok {
			book.Set(i)
		}
	}
	for _, p := range ix.Policies() {
		count(p)
	}
	for _, r := range ix.NetworkSets() {
		count(&model.NetworkSet{Ref: r, Nets: ix.NetworkSet(r)})
	}
	order := OrderOf(ix.Tiers())
	for _, ns := range book.Namespaces() {
		for _, i := range book.Past(ns, set.Namespace, order) {
			out = append(out, Excess{Item: i, Sum: book.Entries(ns), Limit: set.Namespace, Counted: set.Mode == model.GuardCount})
		}
	}
	return out
}

// Apply puts what agents enforce of policies past the budget of their namespace into an
// index of all objects, flushed before and by the caller after it, and returns them. Kept returns the
// version of a policy that is in force, nil: none is; a nil function: none is of any, as
// where an agent starts anew. With mode Count nothing is changed.
func Apply(ix *index.Index, kept func(model.Ref) *model.Policy) []Excess {
	past := Over(ix)
	left := map[string]int{} // what else may stay in force, by namespace
	for i := range past {
		e := &past[i]
		ns, wanted := e.Ref.Namespace, ix.Policy(e.Ref)
		var old *model.Policy
		if kept != nil {
			old = kept(e.Ref)
		}
		if _, seen := left[ns]; !seen {
			left[ns] = e.Limit
		}
		if old != nil && (IsStandIn(old) || old.Entries > left[ns]) {
			old = nil
		}
		if old != nil {
			left[ns] -= old.Entries
		}
		put, beside := StandIn(wanted, old)
		e.Kept, e.Same, e.Narrowed = old != nil, put == wanted, beside != nil
		if e.Counted {
			continue
		}
		ix.Upsert(put)
		if beside != nil {
			ix.Upsert(beside)
		}
	}
	return past
}
