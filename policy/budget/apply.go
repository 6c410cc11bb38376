package budget

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Past begins every description of an excess.
const Past = "past the budget"

// Excess is a policy past the budget of its namespace.
type Excess struct {
	Item
	// Sum is the number of entries of its namespace, and Limit the maximum.
	Sum, Limit int
	// Counted reports that budgets are not enforced: the policy applies as written.
	Counted bool
	// Kept reports that a version that was in force stays in force (see Apply), Same
	// that it is the current version, and Narrowed that it does not govern everything
	// that the current version governs; the rest is denied.
	Kept, Same, Narrowed bool
}

// Instead describes what is in force in place of the policy.
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

// Reason describes by how much the namespace is past its budget.
func (e *Excess) Reason() string {
	return fmt.Sprintf(Past+" of namespace %s: its policies and NetworkSets have %d, of at most %d", e.Ref.Namespace, e.Sum, e.Limit)
}

// Over returns the policies of a flushed index that are past the budget of their
// namespace. They are grouped by namespace, the ones with most entries first, in the
// order of Book.Past. With mode Off there are none.
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

// Apply replaces the policies past the budget of their namespace by what agents enforce
// in their place, in an index of all objects that was flushed before, and returns them;
// the caller flushes the index afterwards. Kept returns the version of a policy that is
// in force, or nil if there is none; a nil function means that there are none at all,
// as after the restart of an agent. With mode Count nothing is changed.
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
