package agent

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/tierwall/tierwall/policy/model"
)

// progress is how far the kernel has come: how many deliveries of the source it
// holds what they say of.
type progress struct {
	mu      sync.Mutex
	count   uint64
	changed chan struct{} // closed when count changes
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

// advance notes that the kernel holds all that n deliveries have said.
func (s *progress) advance(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == s.count {
		return
	}
	s.count = n
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *progress) now() (count uint64, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.changed
}

// Settled waits until the kernel holds what the source has delivered before the
// call (or, of an object that it does not take, what is held in its place). The
// error is the context's, or says that the agent has ended. Safe for concurrent use.
func (a *Agent) Settled(ctx context.Context) error {
	want := a.queue.delivered()
	for {
		count, changed := a.progress.now()
		if count >= want && want > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.ended:
			return errors.New("agent: it has ended")
		case <-changed:
		}
	}
}

// Holder says who has an address: the pod and its node, else the node twice, else
// the zero Ref. Of several pods a local one counts, and of these the first by name. Safe for concurrent use.
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
