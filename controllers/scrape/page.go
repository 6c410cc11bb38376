package scrape

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/utils/clock"
)

const (
	// freshFor is how long a page is served before metrics are gathered again.
	freshFor = 5 * time.Second
	// maxWriters is how many requests a page is written to at a time.
	maxWriters = 4
	// pageWithin is how long a request waits for the page and for its turn.
	pageWithin = 10 * time.Second
)

// page serves metrics in Prometheus' text format. They are gathered for all
// requests together, by one of them, and encoded once with and once without
// compression.
type page struct {
	from  prometheus.Gatherer
	clock clock.PassiveClock

	writers chan struct{}
	// turn is held by whoever uses what follows.
	turn     chan struct{}
	families []*dto.MetricFamily
	err      error
	gathered time.Time
	encoded  map[string]*response // by encoding
}

func newPage(from prometheus.Gatherer, c clock.PassiveClock) *page {
	return &page{from: from, clock: c, writers: make(chan struct{}, maxWriters), turn: make(chan struct{}, 1), encoded: map[string]*response{}}
}

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageWithin)
	defer cancel()
	select {
	case p.writers <- struct{}{}:
		defer func() { <-p.writers }()
	case <-ctx.Done():
		busy(w)
		return
	}
	body := p.get(ctx, r)
	if body == nil {
		busy(w)
		return
	}
	maps.Copy(w.Header(), body.header)
	w.WriteHeader(body.code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes())
	}
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "too many requests are under way", http.StatusServiceUnavailable)
}

// get returns the page as a request takes it; nil: its time was over before it
// was its turn.
func (p *page) get(ctx context.Context, r *http.Request) *response {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil
	}
	if now := p.clock.Now(); p.gathered.IsZero() || now.Sub(p.gathered) >= freshFor || now.Before(p.gathered) {
		p.families, p.err = p.from.Gather()
		p.gathered = now
		clear(p.encoded)
	}
	encoding := "identity"
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		encoding = "gzip"
	}
	if e := p.encoded[encoding]; e != nil {
		return e
	}
	e := &response{header: http.Header{}, code: http.StatusOK}
	// A gatherer that fails in part still shows the rest.
	promhttp.HandlerFor(prometheus.GathererFunc(p.last), promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).
		ServeHTTP(e, &http.Request{Method: http.MethodGet, URL: r.URL, Header: http.Header{"Accept-Encoding": {encoding}}})
	p.encoded[encoding] = e
	return e
}

// last is what was last gathered.
func (p *page) last() ([]*dto.MetricFamily, error) { return p.families, p.err }

// response keeps what a handler writes.
type response struct {
	bytes.Buffer
	header http.Header
	code   int
}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *response) WriteHeader(code int) { r.code = code }
