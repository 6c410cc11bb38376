package agent

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// queue holds what the source has delivered and the agent has not yet taken, by
// writer. The agent takes it in rounds. All that waits is one round, unless it is
// more work than a slice: then writers with little waiting go first, and a writer
// with much has a slice of it in every second round. An object is as much work as it has
// in writing, and a pod besides as much as it changes where it is a peer.
//
// A writer's changes are taken in the order in which they came, and what one call
// said of its objects is taken together. So a cut shows a state that the writer's
// objects have had: a policy that takes another's place is there before that goes,
// and a pod does not come before policies of its namespace that are older. Between
// writers there is no order where there is a cut, as there is none between the kinds
// that an API server is watched for.
//
// What frees an address goes with every round, before all else: another pod that has
// the address by now must not be taken for the one that had it.
type queue struct {
	wake chan struct{} // of room 1

	mu       sync.Mutex
	backlogs map[string]*backlog
	freed    []*entry
	touched  []*backlog // by the call at hand
	served   uint64     // rounds of slices
	loose    uint64     // units of pods that had been united with others
	heavy    bool       // the next round is one of them, if there is need
	calls    uint64     // of Update and Synced
	synced   bool
	reports  []error
	said     bool // reports are new
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), backlogs: map[string]*backlog{}}
}

// Update implements Sink.
func (q *queue) Update(upserts []runtime.Object, deletes []model.Ref) {
	if len(upserts) == 0 && len(deletes) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls++
	for _, r := range deletes {
		q.put(change{ref: r})
	}
	for _, o := range upserts {
		if r, known := convert.RefOf(o); known {
			q.put(change{r, o})
		}
	}
	for _, b := range q.touched {
		b.bound()
	}
	q.touched = q.touched[:0]
	q.ring()
}

func (q *queue) put(c change) {
	w := writerOf(c.ref)
	b := q.backlogs[w]
	if b == nil {
		b = newBacklog(w)
		q.backlogs[w] = b
	}
	e := &entry{change: c, call: q.calls, unit: q.calls, work: convert.Entries(c.object)}
	if c.frees() {
		b.drop(c.ref)
		q.freed = append(q.freed, e)
		return
	}
	b.put(e)
	if n := len(q.touched); n == 0 || q.touched[n-1] != b {
		q.touched = append(q.touched, b)
	}
}

// Synced implements Sink.
func (q *queue) Synced() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.synced = true
	q.calls++
	q.ring()
}

// Report implements Sink.
func (q *queue) Report(errs ...error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reports, q.said = errs, true
	q.ring()
}

func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// delivered is how often the source has delivered something.
func (q *queue) delivered() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls
}

// waiting returns the last change of an object that waits.
func (q *queue) waiting(r model.Ref) (runtime.Object, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.backlogs[writerOf(r)]
	if b == nil || b.last[r] == nil {
		return nil, false
	}
	return b.last[r].object, true
}
