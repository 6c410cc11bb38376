package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// gate holds requests while the API server cannot be reached. One of them probes it, with
// pauses; when that is answered, all others follow at once. Without a gate each kind would
// have pauses of its own, and an agent would be in sync when the longest of them is over.
type gate struct {
	// random is of 0 to 1, for there are many agents.
	random func() float64
	// prober has room for the request that probes.
	prober chan struct{}

	mu sync.Mutex
	// away is closed when the server is back; nil: it can be reached.
	away chan struct{}
	// next is the pause before the next probe, less what chance adds.
	next time.Duration
}

// The pause before a request probes: it doubles from the first to the last, and is
// longer by up to itself. So agents are back five seconds after an outage.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 2500 * time.Millisecond
)

func newGate() *gate {
	return &gate{random: rand.Float64, prober: make(chan struct{}, 1)}
}

// pass makes a request, and repeats it while the server cannot be reached, until the
// context ends. failed is called each time that it cannot.
func pass[T any](ctx context.Context, g *gate, failed func(error), request func() (T, error)) (T, error) {
	v, err := request()
	for unanswered(err) && ctx.Err() == nil {
		failed(err)
		release := g.wait(ctx)
		if ctx.Err() == nil {
			v, err = request()
		}
		if !unanswered(err) {
			g.open()
		}
		release()
	}
	return v, err
}

// unanswered reports whether an error means that a request was not answered.
func unanswered(err error) bool {
	var answer apierrors.APIStatus
	return err != nil && !errors.As(err, &answer) && classify(err).class == unreachable
}

// wait returns when a request is due: when another one was answered, when it is its
// turn to probe, or when the context ends. release is called after the request.
func (g *gate) wait(ctx context.Context) (release func()) {
	back := g.close()
	select {
	case <-ctx.Done():
		return func() {}
	case <-back:
		return func() {}
	case g.prober <- struct{}{}:
	}
	t := time.NewTimer(g.pause())
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-back:
	case <-t.C:
	}
	return func() { <-g.prober }
}

// close notes that the server cannot be reached, and returns what is closed when it can.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away == nil {
		g.away, g.next = make(chan struct{}), firstPause
	}
	return g.away
}

// open lets all waiting requests pass.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away != nil {
		close(g.away)
		g.away = nil
	}
}

// pause returns the pause before the next probe.
func (g *gate) pause() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.next
	g.next = min(2*p, lastPause)
	return p + time.Duration(float64(p)*g.random())
}
