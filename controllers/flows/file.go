package flows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/policy/flows"
)

// maxLine is the longest line of a file of records.
const maxLine = 1 << 20

// ReadRecords reads records as JSON lines, as agents write them on their standard output,
// or a RecordList. Lines of an agent's log that are no records are skipped. Errors name
// the line.
func ReadRecords(r io.Reader) ([]flows.Record, error) {
	in := bufio.NewReader(r)
	if list, err := asList(in); err != nil || list != nil {
		return list, err
	}
	var out []flows.Record
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		b := bytes.TrimSpace(lines.Bytes())
		if len(b) == 0 {
			continue
		}
		r, ok, err := readLine(b)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if ok {
			out = append(out, r)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	return out, nil
}

// readLine reads one record; false: the line is another one of an agent's log.
func readLine(b []byte) (flows.Record, bool, error) {
	var head struct {
		Start, End json.RawMessage
		Decided    json.RawMessage
		Message    *string `json:"msg"`
		Flow       json.RawMessage
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return flows.Record{}, false, fmt.Errorf("no JSON object: %w", err)
	}
	if head.Message != nil {
		if head.Flow == nil {
			return flows.Record{}, false, nil
		}
		b = head.Flow // a record within a line of the log
	}
	var r flows.Record
	if err := json.Unmarshal(b, &r); err != nil {
		return flows.Record{}, false, fmt.Errorf("record: %w", err)
	}
	if r.Start.IsZero() || !r.End.After(r.Start) {
		return flows.Record{}, false, fmt.Errorf("no record: start %q, end %q", head.Start, head.End)
	}
	r.Start, r.End = r.Start.UTC(), r.End.UTC()
	return r, true, nil
}

// asList reads a RecordList; nil: the input is none, and nothing of it has been read.
func asList(in *bufio.Reader) ([]flows.Record, error) {
	first, _ := in.Peek(512)
	if !bytes.Contains(first, []byte(`"RecordList"`)) {
		return nil, nil
	}
	var list flows.RecordList
	if err := json.NewDecoder(in).Decode(&list); err != nil {
		return nil, fmt.Errorf("RecordList: %w", err)
	}
	return append([]flows.Record{}, list.Items...), nil
}

// JoinAll joins records of both ends, of any number of windows in any order, as the
// manager does.
func JoinAll(list []flows.Record) []flows.Record {
	var j flows.Joiner
	var out []flows.Record
	for _, window := range byWindow(list) {
		out = append(out, j.Join(window)...)
	}
	return out
}

// byWindow parts records by the start of their window, the earliest first.
func byWindow(list []flows.Record) [][]flows.Record {
	list = slices.Clone(list)
	flows.Sort(list)
	var out [][]flows.Record
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Start.Equal(list[0].Start) {
			n++
		}
		out = append(out, list[:n])
		list = list[n:]
	}
	return out
}

// At is a clock that shows one time for good, and ticks as others do.
type At struct {
	clock.RealClock
	Time time.Time
}

// Now implements clock.PassiveClock.
func (a At) Now() time.Time { return a.Time }

// Since implements clock.PassiveClock.
func (a At) Since(t time.Time) time.Duration { return a.Time.Sub(t) }

// Offline is a store of records that do not come from a cluster, whatever their age, and a
// clock that shows the end of the last, so that "an hour ago" means its last hour.
func Offline(list []flows.Record) (*Store, At) {
	var end time.Time
	for i := range list {
		if list[i].End.After(end) {
			end = list[i].End
		}
	}
	const ever = 100 * 365 * 24 * time.Hour
	now := At{Time: end}
	s := NewStore(now, Bounds{Short: ever, Long: ever, Rows: 4 << 20, Bytes: 4 << 30}, nil)
	joined := JoinAll(list)
	s.Add(joined)
	s.AddHits(flows.Hits(joined), time.Time{})
	return s, now
}
