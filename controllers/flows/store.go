package flows

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// Bounds of a Store. The zero value of each means its default.
type Bounds struct {
	// Short and Long are how long windows of flows.Window and flows.LongWindow are kept;
	// by default an hour and a day.
	Short, Long time.Duration
	// Rows and Bytes bound all records together, by default 200,000 and 128 MiB, as they
	// are estimated. The oldest windows make room.
	Rows  int
	Bytes int64
}

func (b Bounds) withDefaults() Bounds {
	b.Short, b.Long = cmp.Or(b.Short, time.Hour), cmp.Or(b.Long, 24*time.Hour)
	b.Rows, b.Bytes = cmp.Or(b.Rows, 200_000), cmp.Or(b.Bytes, 128<<20)
	return b
}

// Archive keeps records of long windows beyond memory.
type Archive interface {
	// Read calls f with the records of each window that begins in [from, to), in order.
	Read(ctx context.Context, from, to time.Time, f func([]flows.Record) error) error
}

// Store keeps records in memory. Safe for concurrent use.
type Store struct {
	clock   clock.PassiveClock
	bounds  Bounds
	archive Archive

	mu          sync.RWMutex
	short, long windows
	// dropped is the start of the latest window that was dropped for want of room.
	dropped time.Time
	changed chan struct{}
	hits    map[string]*nodeHits
	notes   map[string][]string
	pool    pool
}

// windows are records by the start of their window; those of one are sorted.
type windows map[time.Time][]flows.Record

// nodeHits are the counters of a node's rules, which begin anew with its agent.
type nodeHits struct {
	before, last []flows.RuleHits
	since        time.Time
}

// NewStore returns an empty store. archive may be nil.
func NewStore(c clock.PassiveClock, b Bounds, archive Archive) *Store {
	return &Store{
		clock: c, bounds: b.withDefaults(), archive: archive, short: windows{}, long: windows{}, changed: make(chan struct{}),
		hits: map[string]*nodeHits{}, notes: map[string][]string{}, pool: pool{},
	}
}

// Add adds joined records. Those of one window should come together: who watches sees
// each window once.
func (s *Store) Add(list []flows.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	byStart := windows{}
	for _, r := range list {
		r.Start, r.End = r.Start.UTC(), r.End.UTC()
		s.pool.intern(&r)
		byStart[r.Start] = append(byStart[r.Start], r)
	}
	for _, at := range slices.SortedFunc(maps.Keys(byStart), time.Time.Compare) {
		records := limit(byStart[at], s.bounds.Rows/4)
		if records[0].End.Sub(records[0].Start) <= flows.Window {
			s.short[at] = flows.Step(slices.Concat(s.short[at], records), 0)
		}
		bucket := at.Truncate(flows.LongWindow)
		s.long[bucket] = limit(flows.Step(slices.Concat(s.long[bucket], records), flows.LongWindow), s.bounds.Rows/4)
	}
	s.sweep()
	close(s.changed)
	s.changed = make(chan struct{})
}

// limit sums the smallest of more than most records as one without ends.
func limit(list []flows.Record, most int) []flows.Record {
	if len(list) <= most {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b flows.Record) int {
		if a.Other != b.Other { // stays, to be added to
			if a.Other {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(b.Attempts(), a.Attempts()), cmp.Compare(b.Connections.Live, a.Connections.Live), flows.Compare(&a, &b))
	})
	kept := list[:most-1]
	for _, r := range list[most-1:] {
		kept = append(kept, flows.Record{
			Start: r.Start, End: r.End, Other: true, Connections: r.Connections, Sent: r.Sent, Received: r.Received, Denied: r.Denied,
		})
	}
	return flows.Step(kept, 0)
}

// sweep drops what is too old and what there is no room for.
func (s *Store) sweep() {
	now := s.clock.Now()
	old := func(w windows, keep time.Duration) {
		maps.DeleteFunc(w, func(at time.Time, _ []flows.Record) bool { return at.Before(now.Add(-keep)) })
	}
	old(s.short, s.bounds.Short)
	old(s.long, s.bounds.Long)
	rows, bytes := 0, int64(0)
	for _, w := range []windows{s.short, s.long} {
		for _, list := range w {
			rows += len(list)
			bytes += sizeOf(list)
		}
	}
	for _, w := range []windows{s.short, s.long} {
		for _, at := range slices.SortedFunc(maps.Keys(w), time.Time.Compare) {
			if rows <= s.bounds.Rows && bytes <= s.bounds.Bytes || len(w) == 1 {
				break
			}
			rows -= len(w[at])
			bytes -= sizeOf(w[at])
			delete(w, at)
			if at.After(s.dropped) {
				s.dropped = at
			}
		}
	}
}

// sizeOf estimates the memory of records, whose strings and verdicts are shared.
func sizeOf(list []flows.Record) int64 {
	const record, addr = 520, 24
	n := int64(len(list)) * record
	for i := range list {
		n += int64(len(list[i].Source.Addresses)+len(list[i].Destination.Addresses)) * addr
	}
	return n
}

// Changed is closed when records have been added.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Records returns what a query selects of what a viewer may see.
func (s *Store) Records(ctx context.Context, q *flows.Query, may flows.Viewer) (*flows.RecordList, error) {
	wanted := *q
	if wanted.Step > 0 {
		wanted.Since = wanted.Since.Truncate(wanted.Step)
	}
	var seen []flows.Record
	var omitted uint64
	err := s.read(ctx, &wanted, func(list []flows.Record) error {
		for i := range list {
			r := &list[i]
			if r.Other && !r.Start.Before(wanted.Since) && (wanted.Until.IsZero() || r.Start.Before(wanted.Until)) {
				omitted += r.Attempts()
			}
			// What is left of a record matches only if the whole does.
			if !wanted.Match(r) {
				continue
			}
			if left, ok := flows.Reduce(r, may); ok && wanted.Match(&left) {
				seen = append(seen, left)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	out := flows.NewRecordList(nil)
	page, next, err := wanted.Page(flows.Step(seen, wanted.Step))
	if err != nil {
		return nil, err
	}
	out.Items, out.Next = append(out.Items, page...), next
	if may("") { // nodes are nobody's but the cluster's
		out.Omitted, out.Notes = omitted, s.allNotes(&wanted)
	}
	return out, nil
}

// read calls f with the windows that a query may select from, the oldest first.
func (s *Store) read(ctx context.Context, q *flows.Query, f func([]flows.Record) error) error {
	lists, from := s.inMemory(q)
	if s.archive != nil && q.Since.Before(from) {
		until := from
		if !q.Until.IsZero() && q.Until.Before(until) {
			until = q.Until
		}
		if err := s.archive.Read(ctx, q.Since, until, f); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	for _, list := range lists {
		if err := f(list); err != nil {
			return err
		}
	}
	return nil
}

// inMemory returns the windows in memory that a query may select from, and since when
// memory has all. Lists never change.
func (s *Store) inMemory(q *flows.Query) (lists [][]flows.Record, from time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	first := func(w windows) time.Time {
		at := s.clock.Now().UTC()
		for start := range w {
			if start.Before(at) {
				at = start
			}
		}
		return at
	}
	pick := func(w windows, until time.Time) {
		for _, at := range slices.SortedFunc(maps.Keys(w), time.Time.Compare) {
			if !at.Before(q.Since) && (q.Until.IsZero() || at.Before(q.Until)) && (until.IsZero() || at.Before(until)) {
				lists = append(lists, w[at])
			}
		}
	}
	if q.Step == flows.LongWindow {
		pick(s.long, time.Time{})
		return lists, first(s.long)
	}
	// A long window that short ones have in part would count twice.
	shortFrom := first(s.short)
	if aligned := shortFrom.Truncate(flows.LongWindow); !aligned.Equal(shortFrom) {
		if _, ok := s.long[aligned]; ok && !q.Since.After(aligned) && s.cut(shortFrom) {
			shortFrom = aligned.Add(flows.LongWindow)
		}
	}
	pick(s.long, shortFrom.Truncate(flows.LongWindow))
	for _, at := range slices.SortedFunc(maps.Keys(s.short), time.Time.Compare) {
		if !at.Before(shortFrom) && !at.Before(q.Since) && (q.Until.IsZero() || at.Before(q.Until)) {
			lists = append(lists, s.short[at])
		}
	}
	return lists, first(s.long)
}

// cut reports whether short windows before the first have been dropped.
func (s *Store) cut(shortFrom time.Time) bool {
	return !s.dropped.IsZero() || shortFrom.Before(s.clock.Now().Add(-s.bounds.Short+flows.LongWindow))
}

// SetHits sets the counters of a node's rules, which began to count at a time. Counters
// that have begun anew are added to what they were before.
func (s *Store) SetHits(node string, list []flows.RuleHits, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hits[node]
	if h == nil {
		h = &nodeHits{since: since}
		s.hits[node] = h
	}
	last := map[flows.RuleKey]uint64{}
	for _, r := range h.last {
		last[r.RuleKey] = r.Packets
	}
	now := map[flows.RuleKey]bool{}
	anew := false
	for _, r := range list {
		anew = anew || r.Packets < last[r.RuleKey]
		now[r.RuleKey] = true
	}
	if anew {
		h.before = flows.MergeHits(h.before, h.last)
	} else { // what a policy's removal took away
		gone := slices.DeleteFunc(slices.Clone(h.last), func(r flows.RuleHits) bool { return now[r.RuleKey] })
		h.before = flows.MergeHits(h.before, gone)
	}
	h.last = slices.Clone(list)
}

// AddHits adds hits that an earlier process has counted.
func (s *Store) AddHits(list []flows.RuleHits, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hits[""]
	if h == nil {
		h = &nodeHits{since: since}
		s.hits[""] = h
	}
	h.before = flows.MergeHits(h.before, list)
}

// Rules returns the hits of the rules that a viewer may see.
func (s *Store) Rules(_ context.Context, may flows.Viewer) (*flows.RuleList, error) {
	list, since := s.allHits()
	out := flows.NewRuleList(append([]flows.RuleHits{}, flows.ReduceHits(list, may)...))
	if !since.IsZero() {
		out.Since = &since
	}
	return out, nil
}

func (s *Store) allHits() ([]flows.RuleHits, time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var lists [][]flows.RuleHits
	var since time.Time
	for _, h := range s.hits {
		lists = append(lists, h.before, h.last)
		if since.IsZero() || !h.since.IsZero() && h.since.Before(since) {
			since = h.since
		}
	}
	return flows.MergeHits(lists...), since
}

// SetNotes sets what is to be known about a node's records; nil: nothing is.
func (s *Store) SetNotes(node string, notes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(notes) == 0 {
		delete(s.notes, node)
		return
	}
	s.notes[node] = slices.Clone(notes)
}

func (s *Store) allNotes(q *flows.Query) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for _, n := range s.notes {
		out = append(out, n...)
	}
	if !s.dropped.IsZero() && !q.Since.After(s.dropped) && s.archive == nil {
		out = append(out, fmt.Sprintf("some records of windows up to %s are gone: there was no room for them in memory", s.dropped.Format(time.RFC3339)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// pool holds verdicts that many records share.
type pool map[model.Verdict]*model.Verdict

// poolSize is how many verdicts are shared before the pool begins anew.
const poolSize = 20_000

func (p pool) intern(r *flows.Record) {
	if len(p) > poolSize {
		clear(p)
	}
	p.decided(&r.Decided)
	if r.Before != nil {
		before := *r.Before
		p.decided(&before)
		r.Before = &before
	}
}

func (p pool) decided(d *flows.Decided) {
	d.Egress, d.Ingress = p.verdict(d.Egress), p.verdict(d.Ingress)
}

func (p pool) verdict(v *model.Verdict) *model.Verdict {
	if v == nil {
		return nil
	}
	own := *v
	own.Audit = p.verdict(v.Audit)
	if old := p[own]; old != nil {
		return old
	}
	p[own] = &own
	return &own
}
