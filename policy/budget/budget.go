// Package budget determines which objects of a namespace are past its budget
// (model.Budgets). The result follows from the objects alone: it is the same on every
// node, after every restart, and in the linter.
package budget

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Item is an object that counts.
type Item struct {
	Ref     model.Ref
	Entries int
	// Tier of a policy.
	Tier string
	// Created in seconds of Unix time; 0 means unknown, and counts as the oldest.
	Created int64
}

// ItemOf returns what an object of the model counts. ok is false for an object that
// does not count: authors of global objects write for the whole cluster.
func ItemOf(o model.Object) (i Item, ok bool) {
	switch o := o.(type) {
	case *model.Policy:
		i = Item{o.Ref, o.Entries, o.Tier, o.Created}
	case *model.NetworkSet:
		i = Item{Ref: o.Ref, Entries: 1 + len(o.Nets)}
	default:
		return Item{}, false
	}
	return i, i.Ref.Namespace != ""
}

// Order is the order in which items count: policies by tier, so that authors of a later
// tier cannot crowd out an earlier one; NetworkSets right before tier default, because
// they are never past a budget themselves (see Book.Past); then by age, kind and name.
type Order map[string]int // by tier, as tiers are evaluated

// OrderOf is the Order of tiers, which are sorted as they are evaluated.
func OrderOf(tiers []*model.Tier) Order {
	o := Order{}
	for i, t := range tiers {
		o[t.Name] = 2 * i
	}
	return o
}

func (o Order) rank(i Item) int {
	if i.Ref.Kind == model.KindNetworkSet {
		return o[model.TierDefault] - 1
	}
	if r, known := o[i.Tier]; known {
		return r
	}
	return 2 * len(o) // nobody has made the tier
}

func (o Order) compare(a, b Item) int {
	return cmp.Or(cmp.Compare(o.rank(a), o.rank(b)), cmp.Compare(a.Created, b.Created), a.Ref.Compare(b.Ref))
}

// Book keeps the items that count, by namespace. The zero Book is empty. Not safe for
// concurrent use.
type Book struct{ namespaces map[string]*account }

type account struct {
	items map[model.Ref]Item
	sum   int
}

// Set adds an item or replaces it.
func (b *Book) Set(i Item) {
	b.Delete(i.Ref)
	if b.namespaces == nil {
		b.namespaces = map[string]*account{}
	}
	a := b.namespaces[i.Ref.Namespace]
	if a == nil {
		a = &account{items: map[model.Ref]Item{}}
		b.namespaces[i.Ref.Namespace] = a
	}
	a.items[i.Ref] = i
	a.sum += i.Entries
}

// Delete removes an item. It is a no-op if there is no such item.
func (b *Book) Delete(r model.Ref) {
	a := b.namespaces[r.Namespace]
	if a == nil {
		return
	}
	a.sum -= a.items[r].Entries
	if delete(a.items, r); len(a.items) == 0 {
		delete(b.namespaces, r.Namespace)
	}
}

// Entries is the number of entries of a namespace.
func (b *Book) Entries(namespace string) int {
	if a := b.namespaces[namespace]; a != nil {
		return a.sum
	}
	return 0
}

// Refs returns the names of a namespace's items, sorted.
func (b *Book) Refs(namespace string) []model.Ref {
	a := b.namespaces[namespace]
	if a == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(a.items), model.Ref.Compare)
}

// Namespaces returns the namespaces that have entries, the largest first.
func (b *Book) Namespaces() []string {
	return slices.SortedFunc(maps.Keys(b.namespaces), func(x, y string) int {
		return cmp.Or(cmp.Compare(b.namespaces[y].sum, b.namespaces[x].sum), cmp.Compare(x, y))
	})
}

// Past returns the policies of a namespace that are past a limit, in order: one counts if
// it fits in what those items leave that count before it. NetworkSets always count, and
// leave that much less to policies: a rule that denies may rest on their addresses.
func (b *Book) Past(namespace string, limit int, order Order) []Item {
	a := b.namespaces[namespace]
	if a == nil || a.sum <= limit {
		return nil
	}
	var past []Item
	left := limit
	for _, i := range slices.SortedFunc(maps.Values(a.items), order.compare) {
		if i.Entries > left && i.Ref.Kind != model.KindNetworkSet {
			past = append(past, i)
			continue
		}
		left -= i.Entries
	}
	return past
}
