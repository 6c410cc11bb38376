package answers

import (
	"slices"
	"time"
)

// waiting is what waits for what: packets for changes of addresses, of which one is under
// way at a time. What has come meanwhile waits for the next one.
type waiting struct {
	// under way, and next: packets that wait for the change that is being made, and for
	// the one after it.
	now, next group
	// running: a change is under way. more: another one is needed after it. began is when
	// it has begun.
	running, more bool
	began         time.Time
	// stuck: it takes longer than answers wait.
	stuck bool
}

// group is packets that wait for one change.
type group struct {
	ids   []uint32
	since []time.Time
}

func (g *group) add(id uint32, at time.Time) {
	g.ids, g.since = append(g.ids, id), append(g.since, at)
}

// before takes out the packets that have waited since a time or longer; they are the first ones.
func (g *group) before(t time.Time) []uint32 {
	n := 0
	for n < len(g.since) && !g.since[n].After(t) {
		n++
	}
	out := g.ids[:n:n]
	g.ids, g.since = g.ids[n:], g.since[n:]
	return out
}

// busy reports whether a change is under way.
func (w *waiting) busy() bool { return w.running }

// start begins a change, for which all that waits for the next one waits.
func (w *waiting) start(now time.Time) {
	w.running, w.more, w.began = true, false, now
	w.now, w.next = w.next, group{}
}

// done ends it, and returns what has waited for it.
func (w *waiting) done() (ids []uint32, since []time.Time) {
	ids, since = w.now.ids, w.now.since
	w.now, w.running, w.stuck = group{}, false, false
	return ids, since
}

// late takes out what has waited since a time or longer.
func (w *waiting) late(t time.Time) []uint32 {
	out := append(w.now.before(t), w.next.before(t)...)
	if w.running && !w.began.After(t) {
		w.stuck = true
	}
	return out
}

// all takes out all that waits.
func (w *waiting) all() []uint32 {
	out := slices.Concat(w.now.ids, w.next.ids)
	w.forget()
	return out
}

// forget drops everything that waits.
func (w *waiting) forget() { w.now, w.next = group{}, group{} }
