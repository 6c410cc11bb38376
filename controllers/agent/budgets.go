package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/model"
)

// budgets hold the objects of namespaces to their budget (model.Budgets). What is past
// it is not put into the index as it is. It keeps the form that it had there and, for
// what that does not govern, denies.
type budgets struct {
	book budget.Book
	// open are the namespaces that are to be looked at again, each with its objects that
	// are new versions: they are put once that is done.
	open map[string]map[model.Ref]struct{}
	// large are the namespaces that have used half of their budget.
	large map[string]struct{}
	// past are the policies past their budget, by namespace.
	past  map[string]map[model.Ref]*excess
	set   model.Budgets // as of the last look
	tiers bool          // tiers have changed since
	node  nodeBudget
	// sources are policies as they were delivered: until it is decided whether they fit,
	// and of those of which only the scope is kept (oversized.go).
	sources map[model.Ref]*source
}

// most is how many entries of a namespace may be in the index: what counts, and what
// stays in force beside it.
func (b *budgets) most(ns string) int {
	if b.set.Mode == model.GuardEnforce && len(b.past[ns]) > 0 {
		return 2 * b.set.Namespace
	}
	return b.book.Entries(ns)
}

// excess is a policy past its budget.
type excess struct {
	err error
	// kept is the last form that was in force; nil: none was.
	kept model.Object
	// put is what is in the index in its place, and companion what is beside that; nil:
	// nothing is. with is the object whose stand-in says the same, if there is one.
	put, companion model.Object
	with           model.Ref
}

func newBudgets() budgets {
	return budgets{
		open: map[string]map[model.Ref]struct{}{}, large: map[string]struct{}{}, past: map[string]map[model.Ref]*excess{},
		set: model.DefaultSettings().Budgets, node: newNodeBudget(), sources: map[model.Ref]*source{},
	}
}

// budgeted reports whether objects of a name count for a budget.
func budgeted(r model.Ref) bool {
	return r.Namespace != "" && (r.Kind.IsPolicy() || r.Kind == model.KindNetworkSet)
}

// charge notes a new version of an object or, with nil, that it is gone. before is the
// version before; nil: there was none. What is to be in the index follows in settleBudgets.
func (in *intake) charge(r model.Ref, before, o model.Object) {
	b := &in.budgets
	b.book.Delete(r)
	if o != nil {
		if i, ok := budget.ItemOf(o); ok {
			b.book.Set(i)
		}
	}
	if b.open[r.Namespace] == nil {
		b.open[r.Namespace] = map[model.Ref]struct{}{}
	}
	if _, twice := b.open[r.Namespace][r]; twice {
		return
	}
	b.open[r.Namespace][r] = struct{}{}
	if _, isPolicy := before.(*model.Policy); isPolicy && b.past[r.Namespace][r] == nil {
		// In case that the new version is past the budget.
		if b.past[r.Namespace] == nil {
			b.past[r.Namespace] = map[model.Ref]*excess{}
		}
		b.past[r.Namespace][r] = in.excessOf(before)
	}
}

// excessOf is what is known of an object that is in the index as it is. Before the
// first transaction, and while the namespace's pods wait for the rest of what there
// was then, that is in force nowhere.
func (in *intake) excessOf(o model.Object) *excess {
	e := &excess{put: o}
	if in.synced && (o == nil || !in.late.holds(o.Key().Namespace)) {
		e.kept = o
	}
	return e
}

// settleBudgets puts objects of namespaces that have changed into the index, or what
// stands in for them.
func (in *intake) settleBudgets() {
	b := &in.budgets
	if now := in.ix.Settings().Budgets; now != b.set || b.tiers {
		b.set, b.tiers = now, false
		for _, ns := range b.book.Namespaces() {
			if b.open[ns] == nil {
				b.open[ns] = map[model.Ref]struct{}{}
			}
		}
	}
	if len(b.open) == 0 {
		return
	}
	order := budget.OrderOf(in.ix.Tiers())
	for _, ns := range slices.Sorted(maps.Keys(b.open)) {
		in.settleBudget(ns, b.open[ns], order)
		b.node.open[ns] = struct{}{}
		if delete(b.large, ns); 2*b.book.Entries(ns) >= b.set.Namespace {
			b.large[ns] = struct{}{}
		}
	}
	clear(b.open)
	in.metrics.budgets(b)
}

func (b *budgets) count() (n int) {
	for _, past := range b.past {
		n += len(past)
	}
	return n
}

func (in *intake) settleBudget(ns string, changed map[model.Ref]struct{}, order budget.Order) {
	b := &in.budgets
	before := b.past[ns]
	now := map[model.Ref]*excess{}
	var items []budget.Item
	if b.set.Mode != model.GuardOff {
		items = b.book.Past(ns, b.set.Namespace, order)
	}
	err := fmt.Errorf("%w: the policies and NetworkSets of namespace %s have %d entries, more than its budget of %d", errPastBudget, ns, b.book.Entries(ns), b.set.Namespace)
	for _, i := range items {
		e := before[i.Ref]
		if e == nil {
			e = in.excessOf(in.objects[i.Ref])
			if _, fresh := changed[i.Ref]; fresh {
				e = &excess{} // it has never been there
			}
		}
		e.err = err
		now[i.Ref] = e
	}
	// First what is within the budget, or is gone.
	for _, r := range slices.SortedFunc(maps.Keys(changed), model.Ref.Compare) {
		if now[r] == nil {
			in.restore(r)
			delete(b.sources, r)
			in.unkeep(before[r])
			in.put(r, in.objects[r])
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(before), model.Ref.Compare) {
		e := before[r]
		if _, done := changed[r]; done || now[r] != nil {
			continue
		}
		in.restore(r)
		delete(b.sources, r)
		in.unkeep(e)
		if in.held[r] == nil && e.put != in.objects[r] {
			in.put(r, in.objects[r])
		}
		in.log.Info("object is within the budget of its namespace again", "object", r.String())
	}
	if b.past[ns] = now; len(now) == 0 {
		delete(b.past, ns)
		return
	}
	kept := b.set.Namespace // at most as much again stays in force
	stands := map[string]model.Ref{}
	for _, i := range items {
		if b.set.Mode == model.GuardCount {
			in.restore(i.Ref)
			in.let(now[i.Ref], i.Ref)
			continue
		}
		in.replace(now[i.Ref], i.Ref, &kept, stands)
		if now[i.Ref].kept == nil {
			in.slim(i.Ref)
		}
		if _, known := before[i.Ref]; !known || before[i.Ref].err == nil {
			in.log.Warn("object is past the budget of its namespace", "object", i.Ref.String(), "entries", i.Entries, "instead", in.instead(i.Ref), "reason", err)
		}
	}
}

// let puts an object past the budget into the index as it is.
func (in *intake) let(e *excess, r model.Ref) {
	in.unkeep(e)
	e.kept, e.with = in.objects[r], model.Ref{}
	if in.held[r] == nil && e.put != e.kept {
		in.put(r, e.kept)
	}
	e.put = e.kept
}

// unkeep takes out of the index what is there beside an object.
func (in *intake) unkeep(e *excess) {
	if e != nil && e.companion != nil {
		in.put(e.companion.Key(), nil)
		e.companion = nil
	}
}

// replace puts what stands in for an object past the budget into the index: the form
// that was in force, as long as such forms are no more than another budget, and what
// denies where that does not govern. Stand-ins that say the same are there once.
func (in *intake) replace(e *excess, r model.Ref, kept *int, stands map[string]model.Ref) {
	if i, ok := budget.ItemOf(e.kept); e.kept != nil && ok {
		if i.Entries > *kept {
			e.kept = nil
		} else {
			*kept -= i.Entries
		}
	}
	var put, beside model.Object
	e.with = model.Ref{}
	wanted, ok := in.objects[r].(*model.Policy)
	if !ok {
		return // budget.Past names policies
	}
	old, _ := e.kept.(*model.Policy)
	form, companion := budget.StandIn(wanted, old)
	put = form
	if companion != nil {
		beside = companion
	}
	if old == nil {
		key := fmt.Sprint(form.Tier, form.Order, form.Selector, form.Ingress, form.Egress, form.Audit, form.DoNotTrack, form.PreDNAT, form.ApplyOnForward)
		if first, there := stands[key]; there {
			e.with, put = first, nil
		} else {
			stands[key] = r
		}
	}
	if e.companion != nil && beside == nil {
		in.unkeep(e)
	}
	if beside != nil {
		in.put(beside.Key(), beside)
		e.companion = beside
	}
	if in.held[r] == nil && !sameForm(e.put, put) {
		in.put(r, put)
		e.put = put
	}
}

// sameForm reports whether what is in the index may stay.
func sameForm(x, y model.Object) bool {
	p, ok := x.(*model.Policy)
	q, also := y.(*model.Policy)
	if !ok || !also {
		return x == y
	}
	return p == q || budget.IsStandIn(p) && budget.IsStandIn(q) && budget.SameScope(p, q)
}

var errPastBudget = errors.New(budget.Past)

// pastBudget is what is wrong with an object that is past its budget; nil: it is not.
func (in *intake) pastBudget(r model.Ref) *excess {
	if e := in.budgets.past[r.Namespace][r]; e != nil && e.err != nil {
		return e
	}
	return nil
}

// asWritten reports whether the kernel, once up to date, holds an object as it is
// written and not what stands in for it.
func (in *intake) asWritten(r model.Ref) bool {
	if in.held[r] != nil || budget.IsCompanion(r) {
		return false
	}
	e := in.pastBudget(r)
	return e == nil || e.put != nil && e.put == e.kept
}

// formOf is what is in the index of an object that the kernel takes.
func (in *intake) formOf(r model.Ref) model.Object {
	if e := in.pastBudget(r); e != nil {
		return e.put
	}
	return in.objects[r]
}

// insteadOf describes what is in force of an object past its budget.
func (e *excess) insteadOf(wanted model.Object) string { return budget.Describe(e.form(wanted)) }

// form is what is in force of an object past its budget.
func (e *excess) form(wanted model.Object) v1alpha1.PastBudgetForm {
	switch {
	case e.kept == wanted:
		return v1alpha1.PastBudgetCurrent
	case e.kept != nil && e.companion != nil:
		return v1alpha1.PastBudgetNarrowed
	case e.kept != nil:
		return v1alpha1.PastBudgetPrevious
	}
	return v1alpha1.PastBudgetDenyAll
}

// budgetFailures lists the objects past their budget.
func (in *intake) budgetFailures(r *Status) {
	if in.budgets.set.Mode != model.GuardEnforce {
		return
	}
	for _, past := range in.budgets.past {
		for ref, e := range past {
			if e.err == nil || in.held[ref] != nil {
				continue
			}
			p, ok := in.objects[ref].(*model.Policy)
			if with := cmp.Or(e.with, ref); ok && (in.ledger.active[with] != nil || in.ledger.active[budget.CompanionOf(ref)] != nil) {
				form := e.form(p)
				r.Failed = append(r.Failed, Failure{Ref: ref, Generation: p.Generation, Err: e.err, Instead: budget.Describe(form), PastBudget: form})
			}
		}
	}
}
