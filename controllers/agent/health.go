package agent

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// stuckAfter is how long one piece of work may take before the agent counts as hung.
const stuckAfter = 2 * time.Minute

// health is what the probes ask for.
type health struct {
	clock clock.Clock

	mu      sync.Mutex
	ready   bool
	message string    // why it is not ready
	since   time.Time // of the work at hand; zero: none
}

// busy notes that work begins; the result notes that it is over.
func (h *health) busy() (done func()) {
	at := func(t time.Time) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.since = t
	}
	at(h.clock.Now())
	return func() { at(time.Time{}) }
}

func (h *health) set(ready bool, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.message = ready, message
}

// failed notes that the kernel lags behind.
func (h *health) failed(err error) { h.set(false, "kernel not up to date: "+err.Error()) }

// Healthy returns nil while the agent is alive, else why it is not. An agent that cannot
// reach the kernel is alive: a restart would not help.
func (a *Agent) Healthy() error {
	h := a.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.clock.Since(h.since); !h.since.IsZero() && d > stuckAfter {
		return fmt.Errorf("one transaction takes %s already", d.Round(time.Second))
	}
	return nil
}

// Ready returns nil while the kernel holds what the source says, else why it does not.
func (a *Agent) Ready() error {
	h := a.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return fmt.Errorf("not ready: %s", h.message)
	}
	return nil
}

// Probes serves /healthz and /readyz.
func (a *Agent) Probes() http.Handler {
	mux := http.NewServeMux()
	probe := func(ask func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			if err := ask(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = fmt.Fprintln(w, err)
				return
			}
			_, _ = fmt.Fprintln(w, "ok")
		}
	}
	mux.HandleFunc("GET /healthz", probe(a.Healthy))
	mux.HandleFunc("GET /readyz", probe(a.Ready))
	return mux
}
