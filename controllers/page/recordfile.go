package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/policy/flows"
)

// RecordFile is records in a file of JSON lines, as agents write them. What is appended
// later is part of it too. Safe for concurrent use.
type RecordFile struct {
	path  string
	clock clock.WithTicker

	mu      sync.Mutex
	read    int64          // bytes that are in records
	records []flows.Record // as they came
	dropped int            // records before these
	lines   int
}

// maxRecords is how many records of a file are kept: the last ones.
const maxRecords = 200_000

// maxList is how many records a list has at most, and without a limit of its own.
const maxList, usualList = 10_000, 1_000

// poll is how often a file is looked at while somebody follows it.
const poll = time.Second

// OpenRecords reads a file of records. Errors name the line. A nil clock is the real one.
func OpenRecords(path string, c clock.WithTicker) (*RecordFile, error) {
	if c == nil {
		c = clock.RealClock{}
	}
	f := &RecordFile{path: path, clock: c}
	_, _, err := f.Records(context.Background())
	return f, err
}

// Records are all complete lines of the file, by start.
func (f *RecordFile) Records(context.Context) ([]flows.Record, []string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.update(); err != nil {
		return nil, nil, err
	}
	out := slices.Clone(f.records)
	slices.SortStableFunc(out, func(a, b flows.Record) int { return a.Start.Compare(b.Start) })
	return out, nil, nil
}

// count is how many records have come so far.
func (f *RecordFile) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped + len(f.records)
}

// since returns the records after the first n that are still kept, and how many have come.
func (f *RecordFile) since(n int) ([]flows.Record, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.update(); err != nil {
		return nil, n, err
	}
	return slices.Clone(f.records[max(0, min(n-f.dropped, len(f.records))):]), f.dropped + len(f.records), nil
}

// update reads what is new. A file that is shorter than before is read from its start.
func (f *RecordFile) update() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.read {
		f.dropped += len(f.records)
		f.read, f.records, f.lines = 0, nil, 0
	}
	if _, err := file.Seek(f.read, io.SeekStart); err != nil {
		return err
	}
	for in := bufio.NewReader(file); ; {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil && !json.Valid(line) {
			break // half of a line: the rest comes later
		}
		f.lines++
		f.read += int64(len(line))
		if len(bytes.TrimSpace(line)) > 0 {
			var r flows.Record
			if err := json.Unmarshal(line, &r); err != nil {
				return fmt.Errorf("%s:%d: %w", f.path, f.lines, err)
			}
			f.records = append(f.records, r)
		}
		if err != nil {
			break
		}
	}
	if n := len(f.records) - maxRecords; n > 0 {
		f.records = slices.Clone(f.records[n:])
		f.dropped += n
	}
	return nil
}

// ServeHTTP lists the last records, or follows the file.
func (f *RecordFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/flows/v1/records":
		fail(w, http.StatusNotFound, r.URL.Path+" is no query of a file of records")
	case r.Method != http.MethodGet:
		fail(w, http.StatusMethodNotAllowed, "records are only read")
	case r.URL.Query().Get("watch") == "true":
		f.follow(w, r)
	default:
		f.list(w, r)
	}
}

func (f *RecordFile) list(w http.ResponseWriter, r *http.Request) {
	limit := usualList
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxList {
			fail(w, http.StatusBadRequest, fmt.Sprintf("limit %q: want a number from 1 to %d", text, maxList))
			return
		}
		limit = n
	}
	records, notes, err := f.Records(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	if n := len(records) - limit; n > 0 {
		records, notes = records[n:], append(notes, fmt.Sprintf("%d earlier records are left out", n))
	}
	out := flows.NewRecordList(records)
	out.Notes = notes
	write(w, http.StatusOK, out)
}

// follow sends the records that are appended from now on as server-sent events.
func (f *RecordFile) follow(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(time.Time{}) // it ends when the reader goes
	w.Header().Set("Content-Type", "text/event-stream")
	sent := f.count()
	tick := f.clock.NewTicker(poll)
	defer tick.Stop()
	if _, err := io.WriteString(w, ": following\n\n"); err != nil {
		return
	}
	_ = out.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C():
		}
		fresh, total, err := f.since(sent)
		if err != nil {
			return
		}
		sent = total
		for i := range fresh {
			data, err := json.Marshal(&fresh[i])
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
				return
			}
		}
		_ = out.Flush()
	}
}
