package agent

import "time"

// roundTime is how long a round of the queue is to take where more waits than one
// slice: about as long as another writer's change may be held up.
const roundTime = 50 * time.Millisecond

// Bounds of a slice, in entries (convert.Entries). The kernel takes 50 µs a rule and more on a
// busy machine, and what belongs to a policy that only lists something costs less.
const (
	firstSlice = 1000
	leastSlice = 500
	mostSlice  = 20_000
)

// pace finds out how much work a round may be, by how long rounds take.
type pace struct {
	slice int
	left  int // how many changes waited on after the last round
}

func newPace() pace { return pace{slice: firstSlice} }

// note learns from a round that was a slice: other rounds say little, for what is
// left of them by a cut may be next to nothing.
func (p *pace) note(r *round, took time.Duration) {
	if !r.slice || r.work < p.slice/2 {
		return
	}
	switch {
	case took > 2*roundTime:
		p.slice = max(p.slice/2, leastSlice)
	case took < roundTime/2:
		p.slice = min(p.slice*2, mostSlice)
	}
}
