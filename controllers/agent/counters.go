package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tierwall/tierwall/dataplane"
)

// counterReader reads what the kernel has counted, for metrics: beside Run's work where
// the backend can (dataplane.CounterReader); else it has Run's goroutine ask the backend.
// Safe for concurrent use.
type counterReader struct {
	*node
	// questions go to Run; ended is closed when Run is over.
	questions chan chan<- counters
	started   atomic.Bool
	ended     chan struct{}
	last      atomic.Pointer[counters] // the last answer; nil: none yet
}

func newCounterReader(n *node) *counterReader {
	return &counterReader{node: n, questions: make(chan chan<- counters), ended: make(chan struct{})}
}

// counters are an answer of the backend.
type counters struct {
	counts map[dataplane.Origin]dataplane.Count
	err    error
}

// countersOf asks a backend.
func countersOf(ctx context.Context, b dataplane.Backend) counters {
	counts, err := b.Counters(ctx)
	return counters{counts, err}
}

// scrapeWait is how long a scrape waits for a transaction to be over. Then it
// is given what was read last.
const scrapeWait = 2 * time.Second

// read returns what the kernel has counted. Before and after Run that is nothing.
func (c *counterReader) read() (map[dataplane.Origin]dataplane.Count, error) {
	if !c.started.Load() {
		return nil, nil
	}
	if b, ok := c.opts.Backend.(dataplane.CounterReader); ok {
		select {
		case <-c.ended:
			return nil, nil
		default:
			return b.ReadCounters(context.Background())
		}
	}
	timer := c.clock.NewTimer(scrapeWait)
	defer timer.Stop()
	answer := make(chan counters, 1)
	select {
	case c.questions <- answer:
		now := <-answer
		c.last.Store(&now)
		return now.counts, now.err
	case <-c.ended:
		return nil, nil
	case <-timer.C():
		if before := c.last.Load(); before != nil && before.err == nil {
			return before.counts, nil
		}
		return nil, errors.New("a transaction takes too long")
	}
}
