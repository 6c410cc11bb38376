package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/tierwall/tierwall/policy/model"
)

// progress counts the source's deliveries whose contents are in the kernel.
type progress struct {
	mu    sync.Mutex
	count uint64
	// waiting is, by writer, the first delivery that something waits of (round.waiting).
	waiting map[string]uint64
	changed chan struct{} // closed when it changes
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

// advance notes that the kernel holds all that n deliveries have said, but for what waits.
func (s *progress) advance(n uint64, waiting map[string]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == s.count && maps.Equal(s.waiting, waiting) {
		return
	}
	s.count, s.waiting = n, waiting
	close(s.changed)
	s.changed = make(chan struct{})
}

// holds reports whether the kernel holds what so many deliveries have said of writers;
// none are named: of all. The channel is closed when that may have changed.
func (s *progress) holds(deliveries uint64, writers []string) (yes bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count < deliveries {
		return false, s.changed
	}
	for w, first := range s.waiting {
		if first <= deliveries && (len(writers) == 0 || slices.Contains(writers, w)) {
			return false, s.changed
		}
	}
	return true, s.changed
}

// Settled waits until the kernel holds what the source has delivered before the
// call (or, of an object that it does not take, what is held in its place): of a
// namespace and of cluster-wide objects or, if it is empty, of all. The
// error is the context's, or says that the agent has ended. Safe for concurrent use.
func (a *Agent) Settled(ctx context.Context, namespace string) error {
	want := a.queue.delivered()
	var writers []string
	if namespace != "" {
		writers = []string{"", namespace}
	}
	for {
		held, changed := a.progress.holds(want, writers)
		if held && want > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.counters.ended:
			return errors.New("agent: it has ended")
		case <-changed:
		}
	}
}

// Holder returns the pod that has an address and its node, else the node that has it,
// twice, else the zero Ref. Of several pods a local one counts, and of these the first by
// name. Safe for concurrent use.
func (a *Agent) Holder(addr netip.Addr) (who model.Ref, node string) {
	a.ixMu.RLock()
	defer a.ixMu.RUnlock()
	if r := a.ix.Owner(addr); r.Kind == model.KindPod {
		if e, ok := a.ix.Endpoint(r); ok {
			return r, e.Node
		}
	}
	if n := a.ix.NodeOf(addr); n != nil {
		return n.Key(), n.Name
	}
	return model.Ref{}, ""
}
