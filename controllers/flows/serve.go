package flows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/policy/flows"
)

// The paths of the API.
const (
	RecordsPath = "/flows/v1/records"
	RulesPath   = "/flows/v1/rules"
)

// Source has records. A Store is one.
type Source interface {
	// Records returns what a query selects of what a viewer may see.
	Records(ctx context.Context, q *flows.Query, may flows.Viewer) (*flows.RecordList, error)
	// Rules returns the hits of the rules that a viewer may see.
	Rules(ctx context.Context, may flows.Viewer) (*flows.RuleList, error)
	// Changed is closed when there are more records.
	Changed() <-chan struct{}
}

// Access finds what callers may see. An error with a StatusError's code is answered with
// it; any other with 503.
type Access interface {
	// View returns what the caller of a request may see with a verb: get, list or watch.
	View(ctx context.Context, r *http.Request, verb string) (View, error)
}

// View is what one caller may see.
type View interface {
	// May reports whether the caller may see the flows of a namespace, "" the whole
	// cluster's. While the answer is not known it is false, and Err says why.
	May(namespace string) bool
	// Err is why an answer of May may be wrong; nil: none is.
	Err() error
}

// StatusError is an error with the HTTP status that it is answered with.
type StatusError struct {
	Code    int
	Message string
}

// Error implements error.
func (e *StatusError) Error() string { return e.Message }

// Everything is the access of those who can read what they are shown anyway: a file, or
// manifests of their own.
type Everything struct{}

// View implements Access.
func (Everything) View(context.Context, *http.Request, string) (View, error) {
	return everything{}, nil
}

type everything struct{}

func (everything) May(string) bool { return true }
func (everything) Err() error      { return nil }

// Handler is the HTTP API.
type Handler struct {
	source Source
	access Access
	clock  clock.WithTicker
	mux    *http.ServeMux
	// watchers holds a token for each stream of events that is open.
	watchers chan struct{}
}

// maxWatchers is how many streams of events are open at a time.
const maxWatchers = 64

// NewHandler returns the API of a source.
func NewHandler(source Source, access Access, c clock.WithTicker) *Handler {
	h := &Handler{source: source, access: access, clock: c, mux: http.NewServeMux(), watchers: make(chan struct{}, maxWatchers)}
	h.mux.HandleFunc("GET "+RecordsPath, h.records)
	h.mux.HandleFunc("GET "+RulesPath, h.rules)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, &StatusError{http.StatusNotFound, fmt.Sprintf("no %s %s", r.Method, r.URL.Path)})
	})
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func (h *Handler) records(w http.ResponseWriter, r *http.Request) {
	q, err := flows.ParseQuery(r.URL.Query(), h.clock.Now())
	if err != nil {
		WriteError(w, &StatusError{http.StatusBadRequest, err.Error()})
		return
	}
	if watch, _ := strconv.ParseBool(r.URL.Query().Get("watch")); watch {
		h.watch(w, r, &q)
		return
	}
	list, err := h.list(r, &q)
	if err != nil {
		WriteError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, list)
}

func (h *Handler) list(r *http.Request, q *flows.Query) (*flows.RecordList, error) {
	view, err := h.view(r, "list", q)
	if err != nil {
		return nil, err
	}
	list, err := h.source.Records(r.Context(), q, view.May)
	return list, errors.Join(err, view.Err())
}

// view finds what a caller may see. One who asks for namespaces and may see none of them
// is refused; one who asks for no namespace gets what there is to see.
func (h *Handler) view(r *http.Request, verb string, q *flows.Query) (View, error) {
	view, err := h.access.View(r.Context(), r, verb)
	if err != nil || q == nil || len(q.Namespaces) == 0 || view.May("") {
		return view, err
	}
	for _, n := range q.Namespaces {
		if view.May(n) {
			return view, nil
		}
	}
	if err := view.Err(); err != nil {
		return nil, err
	}
	return nil, &StatusError{http.StatusForbidden, fmt.Sprintf("no right to %s %s.%s in namespace %s", verb, flows.Resource, flows.Group, q.Namespaces[0])}
}

func (h *Handler) rules(w http.ResponseWriter, r *http.Request) {
	view, err := h.view(r, "list", nil)
	var list *flows.RuleList
	if err == nil {
		list, err = h.source.Rules(r.Context(), view.May)
		err = errors.Join(err, view.Err())
	}
	if err != nil {
		WriteError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, list)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // who reads it has gone
}

// WriteError answers with a Status object, as the API server does.
func WriteError(w http.ResponseWriter, err error) {
	code, message := http.StatusServiceUnavailable, "records cannot be read at the moment"
	var status *StatusError
	switch {
	case errors.As(err, &status):
		code, message = status.Code, status.Message
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		message = "the request was given up"
	}
	reasons := map[int]metav1.StatusReason{
		http.StatusBadRequest: metav1.StatusReasonBadRequest, http.StatusUnauthorized: metav1.StatusReasonUnauthorized,
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
		http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, code, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Message: message, Reason: reasons[code], Code: int32(code),
	})
}

// DefaultPort is the port on which a manager serves the API.
const DefaultPort = 9478
