package names

import (
	"cmp"
	"slices"
)

// triedForRoom bounds how many names are looked at for one that makes room. Names
// in use at the front of an order are moved to its end, so that others come first next time.
const triedForRoom = 16

// makeRoomIn takes from a wildcard the name that was answered longest ago, leaving out
// those that connections use. The names that fill a wildcard are often somebody's random
// ones: whoever asks anew is served, and what is in use stays.
func (t *Table) makeRoomIn(p *pattern) bool {
	e := t.oldest(p, func(*entry) bool { return true })
	if e == nil {
		return false
	}
	t.leave(e, p)
	return true
}

// makeRoom forgets a name of the wildcard that has most of them. Names that some
// pattern spells out make no room.
func (t *Table) makeRoom() bool {
	wild := slices.SortedFunc(slices.Values(t.wild), func(a, b *pattern) int {
		return cmp.Or(cmp.Compare(b.order.Len(), a.order.Len()), comparePatterns(a.Pattern, b.Pattern))
	})
	for _, p := range wild {
		if e := t.oldest(p, func(e *entry) bool { return e.exact == nil }); e != nil {
			t.forget(e)
			return true
		}
	}
	return false
}

// oldest returns the name of a wildcard that can go and was answered longest ago; nil:
// none of those looked at can go.
func (t *Table) oldest(p *pattern, may func(*entry) bool) *entry {
	for range min(triedForRoom, p.order.Len()) {
		at := p.order.Front()
		if e, _ := at.Value.(*entry); may(e) && !t.inUse(e) {
			return e
		}
		p.order.MoveToBack(at)
	}
	return nil
}

func (t *Table) inUse(e *entry) bool {
	return slices.ContainsFunc(e.records, func(r record) bool { return t.opts.InUse(r.key.addr()) })
}

// leastNeeded returns the record of a name that expires first and is not in use, of
// equal ones the first; -1: all are in use.
func (t *Table) leastNeeded(e *entry) int {
	best := -1
	for i, r := range e.records {
		if (best < 0 || r.until < e.records[best].until) && !t.opts.InUse(r.key.addr()) {
			best = i
		}
	}
	return best
}
