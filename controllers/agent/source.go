package agent

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// Source says what objects there are.
type Source interface {
	// Run delivers all objects that there are to the sink, calls Synced, and goes
	// on delivering changes until the context ends; then it returns nil. It copes
	// with errors that may pass by itself and reports them. An error that it
	// returns ends the agent.
	Run(ctx context.Context, to Sink) error
}

// Sink takes what a Source delivers. Its methods do not block and are safe for
// concurrent use.
type Sink interface {
	// Update takes objects that are new or changed, and names of objects that are
	// gone. What one call says goes into one transaction. Objects are not changed
	// after they have been handed over; kinds that the core does not use are ignored.
	Update(upserts []runtime.Object, deletes []model.Ref)
	// Synced says that all objects have been delivered once.
	Synced()
	// Report says what is wrong with the source at this time, in place of what was
	// said before. No errors: all is well.
	Report(errs ...error)
}

// queue holds what the source has delivered and the agent has not yet taken.
type queue struct {
	wake chan struct{} // of room 1

	mu      sync.Mutex
	order   []model.Ref
	pending map[model.Ref]runtime.Object // nil: delete
	calls   uint64                       // of Update and Synced
	synced  bool
	reports []error
	said    bool // reports are new
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), pending: map[model.Ref]runtime.Object{}}
}

// Update implements Sink.
func (q *queue) Update(upserts []runtime.Object, deletes []model.Ref) {
	if len(upserts) == 0 && len(deletes) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range deletes {
		q.put(r, nil)
	}
	for _, o := range upserts {
		if r, known := convert.RefOf(o); known {
			q.put(r, o)
		}
	}
	q.calls++
	q.ring()
}

func (q *queue) put(r model.Ref, o runtime.Object) {
	if _, waits := q.pending[r]; !waits {
		q.order = append(q.order, r)
	}
	q.pending[r] = o
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

// change is an object that is new or changed or, with a nil object, gone.
type change struct {
	ref    model.Ref
	object runtime.Object
}

// delivered is how often the source has delivered something.
func (q *queue) delivered() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls
}

// take empties the queue of what calls deliveries have brought. The reports are
// nil unless new ones have come, in which case said is true.
func (q *queue) take() (changes []change, calls uint64, synced bool, reports []error, said bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.order {
		changes = append(changes, change{r, q.pending[r]})
	}
	q.order, q.pending = nil, map[model.Ref]runtime.Object{}
	reports, said = q.reports, q.said
	q.reports, q.said = nil, false
	return changes, q.calls, q.synced, reports, said
}
