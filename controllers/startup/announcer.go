package startup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

const (
	// linger is how long what is of no more use stays in the report: readers pass
	// over it, and a node that starts pods one after the other writes once a pod.
	linger = 10 * time.Second
	// writeTimeout bounds one attempt to write.
	writeTimeout = 5 * time.Second
	// minRetry and maxRetry bound the pause after a failure, which doubles.
	minRetry, maxRetry = 500 * time.Millisecond, 30 * time.Second
)

// errNotWritten is what Announced says while the report cannot be written.
var errNotWritten = errors.New("the last attempt to write the node's PodAddressReport has failed")

// Store keeps the report of one node.
type Store interface {
	// Put writes what the report says.
	Put(ctx context.Context, pods []v1alpha1.StartedPod) error
}

// AnnouncerOptions of an Announcer. Store is needed; of the others the zero value
// means the default that is named.
type AnnouncerOptions struct {
	Store Store
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
}

// Announcer keeps the PodAddressReport of a node: what is new at once, what is of
// no more use after some seconds. Run writes.
type Announcer struct {
	opts   AnnouncerOptions
	wake   chan struct{} // of room 1
	writes *prometheus.CounterVec

	mu   sync.Mutex
	pods []v1alpha1.StartedPod
	// asked counts the additions, done is how many of them have been written.
	asked, done uint64
	dirtyAt     time.Time // since when the report differs; zero: it does not
	failing     int
	retryAt     time.Time
	changed     chan struct{} // closed when done or failing change
}

// NewAnnouncer returns an Announcer that writes nothing until Run.
func NewAnnouncer(o AnnouncerOptions) (*Announcer, error) {
	if o.Store == nil {
		return nil, errors.New("startup: an announcer needs a store")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Announcer{
		opts: o, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		// What an agent before this one has left is of no use.
		dirtyAt: o.Clock.Now(),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierwall_agent_pod_address_report_writes_total",
			Help: "Attempts to tell other nodes the addresses of pods that have just started, by result: success or error.",
		}, []string{"result"}),
	}, nil
}

// Describe implements prometheus.Collector.
func (a *Announcer) Describe(out chan<- *prometheus.Desc) { a.writes.Describe(out) }

// Collect implements prometheus.Collector.
func (a *Announcer) Collect(out chan<- prometheus.Metric) { a.writes.Collect(out) }

// Announce implements Herald.
func (a *Announcer) Announce(pods []v1alpha1.StartedPod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range pods {
		if !slices.ContainsFunc(a.pods, func(p v1alpha1.StartedPod) bool { return compareStarted(p, pods[i]) == 0 }) {
			a.asked++
		}
	}
	a.pods = pods
	if a.dirtyAt.IsZero() {
		a.dirtyAt = a.opts.Clock.Now()
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Announced implements Herald. While writing fails it does not wait: an API server
// that is away must not hold up every pod.
func (a *Announcer) Announced(ctx context.Context) error {
	a.mu.Lock()
	want := a.asked
	a.mu.Unlock()
	for {
		a.mu.Lock()
		done, failing, changed := a.done >= want, a.failing > 0, a.changed
		a.mu.Unlock()
		switch {
		case done:
			return nil
		case failing:
			return errNotWritten
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Run writes until the context ends; then it returns nil. It may be called once.
func (a *Announcer) Run(ctx context.Context) error {
	for {
		var timer clock.Timer
		var fired <-chan time.Time
		at := a.due()
		if !at.IsZero() && !at.After(a.opts.Clock.Now()) && ctx.Err() == nil {
			a.write(ctx)
			continue
		}
		if !at.IsZero() {
			timer = a.opts.Clock.NewTimer(at.Sub(a.opts.Clock.Now()))
			fired = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-fired:
			a.write(ctx)
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// due says when the report is to be written; zero: there is no reason.
func (a *Announcer) due() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.dirtyAt.IsZero():
		return time.Time{}
	case a.failing > 0:
		return a.retryAt
	case a.asked > a.done:
		return a.opts.Clock.Now()
	}
	return a.dirtyAt.Add(linger)
}

func (a *Announcer) write(ctx context.Context) {
	a.mu.Lock()
	pods, asked := a.pods, a.asked
	a.dirtyAt = time.Time{}
	a.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := a.opts.Store.Put(within, pods)
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() {
		close(a.changed)
		a.changed = make(chan struct{})
	}()
	if err == nil {
		if a.failing > 0 {
			a.opts.Log.Info("addresses of pods that start are told to other nodes again", "failures", a.failing)
		}
		a.done, a.failing = asked, 0
		a.writes.WithLabelValues("success").Inc()
		return
	}
	a.writes.WithLabelValues("error").Inc()
	if a.dirtyAt.IsZero() {
		a.dirtyAt = a.opts.Clock.Now()
	}
	a.retryAt = a.opts.Clock.Now().Add(min(maxRetry, minRetry<<min(a.failing, 10)))
	if a.failing++; a.failing == 1 {
		a.opts.Log.Warn("other nodes are not told the addresses of pods that start; trying again", "error", fmt.Errorf("PodAddressReport: %w", err))
	}
}
