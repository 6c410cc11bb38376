package flows

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tierwall/tierwall/policy/flows"
)

const (
	// heartbeat is how often a stream without records gets a comment, so that neither
	// proxies nor the reader take it for dead.
	heartbeat = 15 * time.Second
	// writeWithin is how long a reader may take for what it is sent at a time.
	writeWithin = 10 * time.Second
)

// watch streams records as server-sent events: first those that there are, from since or
// from the cursor on, then each window as it is complete. Rights are looked at anew for
// each window.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request, q *flows.Query) {
	if q.Step == flows.LongWindow {
		WriteError(w, &StatusError{http.StatusBadRequest, "watch: cannot be combined with step=5m"})
		return
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		q.Cursor = id
	}
	select {
	case h.watchers <- struct{}{}:
		defer func() { <-h.watchers }()
	default:
		WriteError(w, &StatusError{http.StatusTooManyRequests, fmt.Sprintf("%d others watch already", maxWatchers)})
		return
	}
	if _, err := h.view(r, "watch", q); err != nil {
		WriteError(w, err)
		return
	}
	stream := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	alive := h.clock.NewTicker(heartbeat)
	defer alive.Stop()
	for {
		changed := h.source.Changed()
		if err := h.send(w, stream, r, q); err != nil {
			return // the reader comes again with the last cursor that it has got
		}
		select {
		case <-changed:
		case <-alive.C():
			if write(w, stream, []byte(": waiting\n\n")) != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// send sends all records after the query's cursor, and moves that on.
func (h *Handler) send(w http.ResponseWriter, stream *http.ResponseController, r *http.Request, q *flows.Query) error {
	for {
		view, err := h.view(r, "watch", q)
		if err != nil {
			return err
		}
		list, err := h.source.Records(r.Context(), q, view.May)
		if err == nil {
			err = view.Err()
		}
		if err != nil {
			return err
		}
		var b []byte
		for i := range list.Items {
			record := &list.Items[i]
			data, err := json.Marshal(record)
			if err != nil {
				return fmt.Errorf("record: %w", err)
			}
			q.Cursor = flows.Cursor(record)
			b = fmt.Appendf(b, "id: %s\ndata: %s\n\n", q.Cursor, data)
			if record.Start.After(q.Since) {
				q.Since = record.Start // there is no need to look at earlier windows
			}
		}
		if err := write(w, stream, b); err != nil {
			return err
		}
		if list.Next == "" {
			return nil
		}
	}
}

func write(w http.ResponseWriter, stream *http.ResponseController, b []byte) error {
	_ = stream.SetWriteDeadline(time.Now().Add(writeWithin)) // the kernel's clock; not every writer has one
	if _, err := w.Write(b); err != nil {
		return err
	}
	return stream.Flush()
}

// ReadEvents calls f with the records of a stream of events, until it ends or f fails.
func ReadEvents(r io.Reader, f func(*flows.Record) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var record flows.Record
		if err := json.Unmarshal([]byte(data), &record); err != nil {
			return fmt.Errorf("event: %w", err)
		}
		if err := f(&record); err != nil {
			return err
		}
	}
	return lines.Err()
}
