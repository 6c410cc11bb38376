package flows

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/policy/flows"
)

// keepAlive is how often a watcher hears something, so that a connection that nobody reads
// is noticed.
const keepAlive = 30 * time.Second

// Handler serves /flows/v1. It asks nobody who may read: whoever serves it does.
func (r *Recorder) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /flows/v1/records", r.serveRecords)
	mux.HandleFunc("GET /flows/v1/rules", r.serveRules)
	return mux
}

// held are the closed windows that begin in [since, until), and what is to be known about
// what is missing; ok is false if nothing is recorded.
func (r *Recorder) held(q *flows.Query) (list []*window, notes []string, next <-chan struct{}, ok bool) {
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	if r.table == nil {
		return nil, nil, nil, false
	}
	for _, w := range r.table.ring {
		if !w.start.Before(q.Since) && (q.Until.IsZero() || w.start.Before(q.Until)) {
			list = append(list, w)
		}
	}
	if r.opts.Counts != nil && !r.counts.Load() {
		notes = append(notes, fmt.Sprintf("bytes are not counted on %s: net.netfilter.nf_conntrack_acct is 0", r.opts.Node))
	}
	if r.table.started.After(q.Since) {
		notes = append(notes, fmt.Sprintf("nothing was recorded on %s before %s", r.opts.Node, r.table.started.UTC().Format(time.RFC3339)))
	}
	return list, notes, r.closed, true
}

// Records are those that a query selects, as GET /flows/v1/records has them.
func (r *Recorder) Records(q *flows.Query) (*flows.RecordList, error) {
	windows, notes, _, ok := r.held(q)
	if !ok {
		return nil, errOff
	}
	page, next, err := r.page(windows, q)
	if err != nil {
		return nil, err
	}
	out := flows.NewRecordList(page)
	for _, w := range windows {
		out.Omitted += uint64(w.other.began)
	}
	out.Next, out.Notes = next, notes
	slices.Sort(out.Notes)
	return out, nil
}

// page is the query's page of the records of windows. Windows that are behind it are not
// looked at, unless the query joins them.
func (r *Recorder) page(windows []*window, q *flows.Query) (page []flows.Record, next string, err error) {
	limit := q.Limit
	if limit == 0 {
		limit = flows.DefaultLimit
	}
	joins := q.Step > flows.Window
	whole := *q
	whole.Limit = maxPage
	for _, w := range windows {
		list := slices.DeleteFunc(w.records(r.opts.Node), func(rec flows.Record) bool { return !q.Match(&rec) })
		if joins {
			page = append(page, list...)
			continue
		}
		if list, _, err = whole.Page(list); err != nil {
			return nil, "", err
		}
		if page = append(page, list...); len(page) > limit {
			return page[:limit], flows.Cursor(&page[limit-1]), nil
		}
	}
	if joins {
		return q.Page(flows.Step(page, q.Step))
	}
	return page, "", nil
}

// Rules are how often rules have decided, by what is recorded.
func (r *Recorder) Rules() (*flows.RuleList, error) {
	windows, _, _, ok := r.held(&flows.Query{})
	if !ok {
		return nil, errOff
	}
	var all []flows.Record
	for _, w := range windows {
		all = append(all, w.records(r.opts.Node)...)
	}
	out := flows.NewRuleList(flows.Hits(all))
	if len(windows) > 0 {
		since := windows[0].start
		out.Since = &since
	}
	return out, nil
}

// statusError is an error that the answer to a request is.
type statusError struct {
	code   int32
	reason metav1.StatusReason
	text   string
}

// Error implements error.
func (e *statusError) Error() string { return e.text }

var errOff = &statusError{http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "connections are not recorded: Tierwall.spec.flows.enabled is not On"}

func (r *Recorder) serveRecords(w http.ResponseWriter, req *http.Request) {
	q, err := flows.ParseQuery(req.URL.Query(), r.clock.Now())
	if err != nil {
		refuse(w, &statusError{http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()})
		return
	}
	if watch, _ := strconv.ParseBool(req.URL.Query().Get("watch")); watch {
		if !req.URL.Query().Has("since") {
			q.Since = r.clock.Now().Add(-flows.Window)
		}
		r.watch(w, req, &q)
		return
	}
	list, err := r.Records(&q)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, list)
}

func (r *Recorder) serveRules(w http.ResponseWriter, _ *http.Request) {
	list, err := r.Rules()
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, list)
}

// watch sends each record as an event, from those of the query on, until the client goes.
func (r *Recorder) watch(w http.ResponseWriter, req *http.Request, q *flows.Query) {
	if id := req.Header.Get("Last-Event-ID"); id != "" {
		q.Cursor = id
	}
	if _, _, err := q.Page(nil); err != nil {
		refuse(w, &statusError{http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()})
		return
	}
	q.Limit = maxPage
	send := http.NewResponseController(w)
	_, _ = send.SetReadDeadline(time.Time{}), send.SetWriteDeadline(time.Time{})
	started := false
	for {
		windows, _, next, ok := r.held(q)
		if !ok {
			if !started {
				refuse(w, errOff)
			}
			return
		}
		if !started {
			started = true
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusOK)
			if send.Flush() != nil {
				return
			}
		}
		for _, win := range windows {
			page, _, err := q.Page(win.records(r.opts.Node))
			if err != nil {
				return
			}
			for i := range page {
				if q.Match(&page[i]) && sendEvent(w, &page[i]) != nil {
					return
				}
			}
			q.Since, q.Cursor = win.start.Add(1), ""
		}
		_ = send.SetWriteDeadline(time.Now().Add(keepAlive)) // the kernel's clock counts
		if send.Flush() != nil {
			return
		}
		_ = send.SetWriteDeadline(time.Time{})
		if !r.wait(req, next, w) {
			return
		}
	}
}

// maxPage is more records than a window has.
const maxPage = maxKeys + 1

// wait waits for the next window; false: the client has gone.
func (r *Recorder) wait(req *http.Request, next <-chan struct{}, w http.ResponseWriter) bool {
	t := r.clock.NewTimer(keepAlive)
	defer t.Stop()
	select {
	case <-req.Context().Done():
		return false
	case <-next:
		return true
	case <-t.C():
		_, err := fmt.Fprint(w, ": still here\n\n")
		return err == nil
	}
}

func sendEvent(w http.ResponseWriter, rec *flows.Record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "id: %s\ndata: %s\n\n", flows.Cursor(rec), b)
	return err
}

func answer(w http.ResponseWriter, code int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(what)
}

// refuse answers with a Status.
func refuse(w http.ResponseWriter, err error) {
	var s *statusError
	if !errors.As(err, &s) {
		s = &statusError{http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()}
	}
	answer(w, int(s.code), &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: s.code, Reason: s.reason, Message: s.text,
	})
}
