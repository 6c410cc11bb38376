package names

import (
	"container/heap"
	"time"
)

// KeepInUse is how long an address that has expired stays because a connection uses it,
// until that is asked again.
const KeepInUse = 30 * time.Second

// Expire forgets addresses whose time is over and that are not in use, and names that
// have no address left.
func (t *Table) Expire(now time.Time) {
	at := secondsOf(now)
	for len(t.agenda) > 0 && t.agenda[0].due <= at {
		e := t.agenda[0]
		due := ^seconds(0)
		for i := len(e.records) - 1; i >= 0; i-- {
			r := &e.records[i]
			switch {
			case r.until > at:
			case t.opts.InUse(r.key.addr()):
				r.until = at.plus(KeepInUse)
			default:
				t.drop(e, i)
				continue
			}
			due = min(due, r.until)
		}
		if len(e.records) == 0 {
			t.forget(e)
			continue
		}
		if due <= at { // the last second that there is
			return
		}
		e.due = due
		heap.Fix(&t.agenda, e.index)
	}
}

// Due returns when Expire will have something to do; ok is false if never. It may be
// too early, but never is too late.
func (t *Table) Due() (at time.Time, ok bool) {
	if len(t.agenda) == 0 {
		return time.Time{}, false
	}
	return t.agenda[0].due.time(), true
}
