package page

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/view"
)

// Records are the flows that the board, the map and what-if count.
type Records interface {
	// Records returns what is known, in any order, and notes on what is missing.
	Records(ctx context.Context) (records []flows.Record, notes []string, err error)
}

// Options of a Server. Load, Build and Token are needed.
type Options struct {
	// Load reads the objects in layers, of which each lies over those before it, as files
	// over a cluster. They are not completed.
	Load func(context.Context) ([]*manifests.Result, error)
	// Build converts completed objects into an index as agents enforce them, flushed, with
	// the problems of the conversion. If audited is set, audited policies are enforced.
	Build func(r *manifests.Result, audited bool) (*index.Index, []model.Problem)
	// Source names for people what Load reads.
	Source string
	// Live says that Load reads a cluster.
	Live bool
	// Records of flows; nil: there are none.
	Records Records
	// Flows serves /flows/v1/; nil: there are no records.
	Flows http.Handler
	// Assets are the files of the page (package ui); nil: they are not in this build.
	Assets fs.FS
	// Token that every query has to bear.
	Token string
	// Version of the program.
	Version string
	// Clock; nil: the real one.
	Clock clock.PassiveClock
}

// Server answers the page.
type Server struct {
	o Options
	// turn is held by the query that evaluates: worlds are not safe for concurrent use.
	turn  chan struct{}
	state *state
}

// New returns a Server that has read the objects.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Load == nil || o.Build == nil || o.Token == "" {
		return nil, errors.New("page: Load, Build and Token are needed")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	s := &Server{o: o, turn: make(chan struct{}, 1)}
	var err error
	s.state, err = s.load(ctx)
	return s, err
}

// Handler serves the page and its queries to this machine alone.
func (s *Server) Handler() http.Handler {
	queries := needToken(s.o.Token, s.queries())
	all := http.NewServeMux()
	all.Handle("/ui/v1/", queries)
	all.Handle("/flows/v1/", queries)
	all.Handle("/", assets(s.o.Assets))
	return harden(onlyLoopback(sameOrigin(all)))
}

// queries answers all that a token is needed for.
func (s *Server) queries() http.Handler {
	queries := http.NewServeMux()
	queries.HandleFunc("GET /ui/v1/info", s.query(s.info))
	queries.HandleFunc("GET /ui/v1/board", s.query(s.board))
	queries.HandleFunc("GET /ui/v1/map", s.query(s.drawMap))
	queries.HandleFunc("POST /ui/v1/explain", s.query(s.explain))
	queries.HandleFunc("POST /ui/v1/whatif", s.query(s.whatIf))
	queries.HandleFunc("POST /ui/v1/reload", s.query(s.reload))
	if s.o.Flows != nil {
		queries.Handle("/flows/v1/", s.o.Flows)
	}
	queries.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, r.Method+" "+r.URL.Path+" is no query of the page")
	})
	return queries
}

// read is when the objects were read.
func (s *Server) read() time.Time {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.state.readAt
}

// query has f answer while it holds the turn.
func (s *Server) query(f func(http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
			f(w, r)
		case <-r.Context().Done():
		}
	}
}

// Info is what the page shows, and of what.
type Info struct {
	Version string    `json:"version"`
	Source  string    `json:"source"`
	Live    bool      `json:"live"`
	ReadAt  time.Time `json:"readAt"`
	// Flows says that there are records.
	Flows    bool     `json:"flows"`
	Notes    []string `json:"notes,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	view.Counts
	// Peers are names to ask about, for completion: at most maxPeers.
	Peers []string `json:"peers"`
}

// maxPeers is how many names Info has.
const maxPeers = 2000

func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	i := Info{
		Version: s.o.Version, Source: s.o.Source, Live: s.o.Live, ReadAt: s.state.readAt, Flows: s.o.Flows != nil,
		Warnings: s.state.warnings, Counts: s.state.world.Counts(), Peers: s.state.world.Peers(maxPeers),
	}
	_, i.Notes, _ = s.records(r.Context())
	write(w, http.StatusOK, i)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	next, err := s.load(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "the objects cannot be read, what is shown is of before: "+err.Error())
		return
	}
	s.state = next
	s.info(w, r)
}

func (s *Server) board(w http.ResponseWriter, r *http.Request) {
	if records, ok := s.recordsFor(w, r); ok {
		write(w, http.StatusOK, s.state.world.Board(records))
	}
}

func (s *Server) drawMap(w http.ResponseWriter, r *http.Request) {
	if records, ok := s.recordsFor(w, r); ok {
		write(w, http.StatusOK, s.state.world.Map(records))
	}
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	var q view.Question
	if !read(w, r, &q) {
		return
	}
	a, err := s.state.world.Explain(&q)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	write(w, http.StatusOK, a)
}

// WhatIfQuestion is a change of the objects to try.
type WhatIfQuestion struct {
	// YAML of objects that are applied.
	YAML string `json:"yaml,omitempty"`
	// EnforceAudited: audited policies are enforced.
	EnforceAudited bool `json:"enforceAudited,omitempty"`
}

func (s *Server) whatIf(w http.ResponseWriter, r *http.Request) {
	var q WhatIfQuestion
	if !read(w, r, &q) {
		return
	}
	after, warnings, err := s.change(&q)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	if records, ok := s.recordsFor(w, r); ok {
		out := s.state.world.WhatIf(after, records)
		out.Warnings = warnings
		write(w, http.StatusOK, out)
	}
}

func (s *Server) records(ctx context.Context) ([]flows.Record, []string, error) {
	if s.o.Records == nil {
		return nil, nil, nil
	}
	records, notes, err := s.o.Records.Records(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("records of flows: %w", err)
	}
	return records, notes, nil
}

// recordsFor is records for an answer. If there is an error, it answers and returns false.
func (s *Server) recordsFor(w http.ResponseWriter, r *http.Request) ([]flows.Record, bool) {
	records, _, err := s.records(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
	}
	return records, err == nil
}
