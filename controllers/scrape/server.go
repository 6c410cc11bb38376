package scrape

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// Access says what it takes to read metrics from another machine.
type Access string

const (
	// Authenticated takes TLS and the token of a user who may get /metrics.
	Authenticated Access = "authenticated"
	// Open takes nothing: there is no TLS either.
	Open Access = "open"
)

// Options of a Server. Address and Gatherer are needed, and Config where access
// is Authenticated and the address is not loopback.
type Options struct {
	// Address to listen on, host:port. If the host is loopback, nothing else can
	// reach the port, and it is open whatever Access says.
	Address string
	// Access of other machines; empty: Authenticated.
	Access Access
	// Gatherer of the metrics. It is asked every few seconds at most.
	Gatherer prometheus.Gatherer
	// Probes serves all paths but /metrics; nil: there are none. The node itself
	// may get them always, others as they may get /metrics.
	Probes http.Handler
	// Flows serves /flows/v1, as /metrics is; nil: there are none. Its answers may be long
	// in coming.
	Flows http.Handler
	// Config of the API server that reviews tokens.
	Config *rest.Config
	// Clock; nil: the real one.
	Clock clock.PassiveClock
	// Log; nil: none.
	Log *slog.Logger
}

// Server serves metrics and probes; see New and Start.
type Server struct {
	listener net.Listener
	log      *slog.Logger
	split    *splitter
	local    *http.Server
	remote   *http.Server
	tls      bool

	requests *prometheus.CounterVec
	refused  prometheus.Counter
}

var _ prometheus.Collector = (*Server)(nil)

// New returns a Server that listens, and answers when it is started. It is a
// collector of metrics on those who read metrics, for the caller to register.
func New(o Options) (*Server, error) {
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, err
	}
	s, err := newOn(l, o)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return s, nil
}

// newOn is New on a listener.
func newOn(l net.Listener, o Options) (*Server, error) {
	if o.Gatherer == nil {
		return nil, errors.New("scrape: a gatherer is needed")
	}
	o.Access = cmp.Or(o.Access, Authenticated)
	if o.Access != Authenticated && o.Access != Open {
		return nil, fmt.Errorf("scrape: access %q: want %s or %s", o.Access, Authenticated, Open)
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		listener: l, log: o.Log,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierwall_metrics_requests_total", Help: "Requests of other machines for metrics and probes, by the status code of the answer.",
		}, []string{"code"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tierwall_metrics_connections_refused_total", Help: "Connections of other machines to the port of metrics that were closed because there were too many.",
		}),
	}
	if err := s.handle(&o); err != nil {
		return nil, err
	}
	return s, nil
}

// handle sets up what answers.
func (s *Server) handle(o *Options) error {
	metrics := newPage(o.Gatherer, o.Clock)
	all := mux(metrics, o.Probes, o.Flows)
	inside := mux(http.HandlerFunc(elsewhere), o.Probes, http.HandlerFunc(elsewhere))
	outside := all
	if loopback := addrOf(s.listener.Addr()).IsLoopback(); loopback || o.Access == Open {
		inside = all
	} else {
		if o.Config == nil {
			return errors.New("scrape: no API server could review tokens: access must be open, or the address loopback")
		}
		r, err := newReviewer(o.Config, o.Clock)
		if err != nil {
			return fmt.Errorf("scrape: %w", err)
		}
		outside, s.tls = r.guard(all), true
	}
	limits := newLimits(o.Clock)
	s.split = newSplitter(s.listener, limits, s.refused.Inc)
	s.local, s.remote = newServer(inside, o.Log), newServer(s.limit(limits, outside), o.Log)
	if s.tls {
		s.remote.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: (&certificates{clock: o.Clock}).get}
	}
	return nil
}

func mux(metrics, probes, flows http.Handler) http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", metrics)
	if flows != nil {
		m.Handle("/flows/v1/", flows)
	}
	if probes != nil {
		m.Handle("/", probes)
	}
	return m
}

// elsewhere answers requests for metrics that come without TLS and token, by loopback.
func elsewhere(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "metrics and flows are served with TLS, to users with a token, on the node's other addresses", http.StatusForbidden)
}

// limit answers no more requests of a peer than it may send, and counts answers.
func (s *Server) limit(l *limits, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noted := &noting{ResponseWriter: w, code: http.StatusOK}
		defer func() { s.requests.WithLabelValues(fmt.Sprint(noted.code)).Inc() }()
		peer, _ := netip.ParseAddrPort(r.RemoteAddr)
		if !l.request(peer.Addr()) {
			w.Header().Set("Retry-After", "1")
			http.Error(noted, "too many requests", http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(noted, r)
	})
}

// noting notes the status code of an answer.
type noting struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (n *noting) WriteHeader(code int) {
	n.code = code
	n.ResponseWriter.WriteHeader(code)
}

// Unwrap has an http.ResponseController reach what is below.
func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// newServer returns a server that waits for nobody long. HTTP/2 is left out: a
// connection has one request at a time, so that connections count.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
}

// Addr is where the Server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Start serves until the context ends, and returns nil then. It may be called once.
func (s *Server) Start(ctx context.Context) error {
	s.log.Info("serving metrics and probes", "address", s.Addr().String(), "authenticated", s.tls)
	var over sync.WaitGroup
	serve := func(serve func() error) {
		over.Go(func() {
			if err := serve(); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				s.log.Error("metrics and probes are not served any more", "error", err)
			}
		})
	}
	over.Go(s.split.run)
	serve(func() error { return s.local.Serve(s.split.local) })
	serve(func() error {
		if s.tls {
			return s.remote.ServeTLS(s.split.remote, "", "")
		}
		return s.remote.Serve(s.split.remote)
	})
	<-ctx.Done()
	_ = s.listener.Close()
	_ = s.local.Close() // requests that are under way are not worth waiting for
	_ = s.remote.Close()
	over.Wait()
	return nil
}

// NeedLeaderElection is false: every replica of a manager has metrics.
func (*Server) NeedLeaderElection() bool { return false }

// Describe implements prometheus.Collector.
func (s *Server) Describe(out chan<- *prometheus.Desc) {
	s.requests.Describe(out)
	s.refused.Describe(out)
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(out chan<- prometheus.Metric) {
	s.requests.Collect(out)
	s.refused.Collect(out)
}
