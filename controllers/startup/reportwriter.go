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

// errNotWritten is the error of Announced while the report cannot be written.
var errNotWritten = errors.New("the last attempt to write the node's PodAddressReport has failed")

// Store keeps the report of one node.
type Store interface {
	// Put replaces the pods of the report.
	Put(ctx context.Context, pods []v1alpha1.StartedPod) error
}

// ReportWriterOptions of a ReportWriter. Store is needed; of the others the zero value
// means the default that is named.
type ReportWriterOptions struct {
	Store Store
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
}

// ReportWriter keeps the PodAddressReport of a node up to date: it writes what is new at
// once, and removes what is of no more use some seconds later. See Run.
type ReportWriter struct {
	opts   ReportWriterOptions
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

// NewReportWriter returns a ReportWriter that writes nothing until Run.
func NewReportWriter(o ReportWriterOptions) (*ReportWriter, error) {
	if o.Store == nil {
		return nil, errors.New("startup: a report writer needs a store")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &ReportWriter{
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
func (w *ReportWriter) Describe(out chan<- *prometheus.Desc) { w.writes.Describe(out) }

// Collect implements prometheus.Collector.
func (w *ReportWriter) Collect(out chan<- prometheus.Metric) { w.writes.Collect(out) }

// Announce implements Announcer.
func (w *ReportWriter) Announce(pods []v1alpha1.StartedPod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range pods {
		if !slices.ContainsFunc(w.pods, func(p v1alpha1.StartedPod) bool { return compareStarted(p, pods[i]) == 0 }) {
			w.asked++
		}
	}
	w.pods = pods
	if w.dirtyAt.IsZero() {
		w.dirtyAt = w.opts.Clock.Now()
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Announced implements Announcer. While writing fails it does not wait: an API server
// that is away must not hold up every pod.
func (w *ReportWriter) Announced(ctx context.Context) error {
	w.mu.Lock()
	want := w.asked
	w.mu.Unlock()
	for {
		w.mu.Lock()
		done, failing, changed := w.done >= want, w.failing > 0, w.changed
		w.mu.Unlock()
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
func (w *ReportWriter) Run(ctx context.Context) error {
	for {
		var timer clock.Timer
		var fired <-chan time.Time
		at := w.due()
		if !at.IsZero() && !at.After(w.opts.Clock.Now()) && ctx.Err() == nil {
			w.write(ctx)
			continue
		}
		if !at.IsZero() {
			timer = w.opts.Clock.NewTimer(at.Sub(w.opts.Clock.Now()))
			fired = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-fired:
			w.write(ctx)
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// due returns when the report is to be written; zero: never.
func (w *ReportWriter) due() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.dirtyAt.IsZero():
		return time.Time{}
	case w.failing > 0:
		return w.retryAt
	case w.asked > w.done:
		return w.opts.Clock.Now()
	}
	return w.dirtyAt.Add(linger)
}

func (w *ReportWriter) write(ctx context.Context) {
	w.mu.Lock()
	pods, asked := w.pods, w.asked
	w.dirtyAt = time.Time{}
	w.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := w.opts.Store.Put(within, pods)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		close(w.changed)
		w.changed = make(chan struct{})
	}()
	if err == nil {
		if w.failing > 0 {
			w.opts.Log.Info("addresses of pods that start are told to other nodes again", "failures", w.failing)
		}
		w.done, w.failing = asked, 0
		w.writes.WithLabelValues("success").Inc()
		return
	}
	w.writes.WithLabelValues("error").Inc()
	if w.dirtyAt.IsZero() {
		w.dirtyAt = w.opts.Clock.Now()
	}
	w.retryAt = w.opts.Clock.Now().Add(min(maxRetry, minRetry<<min(w.failing, 10)))
	if w.failing++; w.failing == 1 {
		w.opts.Log.Warn("other nodes are not told the addresses of pods that start; trying again", "error", fmt.Errorf("PodAddressReport: %w", err))
	}
}
