package latency

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestLog: what a stream's flows add up to.
func TestLog(t *testing.T) {
	s := &Stream{flows: []flow{{sent: 1}, {sent: 2, through: 9}, {sent: 3}, {sent: 4, through: 8}, {sent: 5}}}
	got, err := s.log()
	if want := (log{sent: 5, through: 2, first: 8, last: 9, lastNumber: 4, stopped: 5, odd: 1}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	s.reset()
	s.arrived(4, 10) // of before
	s.arrived(6, 11) // of what was not sent
	n := s.begin()
	s.arrived(n, 12)
	s.arrived(n, 13)
	if got, _ := s.log(); n != 5 || got.sent != 1 || got.first != 12 || got.last != 12 {
		t.Errorf("flow %d, %+v", n, got)
	}
}

// wire is in the place of a sender and a receiver: it says of each flow after the
// call whether it arrives.
type wire struct {
	before bool               // whether flows arrive before the call
	after  func(nth int) bool // and the nth after it

	called  bool
	nth     int
	began   time.Duration // the call
	first   time.Duration // arrival after it
	ends    int           // after so many flows none arrives any more
	stopped time.Duration // when the next one was sent
}

func (w *wire) call(context.Context) error {
	w.called, w.began = true, now()
	return nil
}

// run replaces the wait for a tick: with each poll of a round comes a flow.
func (w *wire) flow(s *Stream) {
	n := s.begin()
	if w.stopped == 0 && w.nth == w.ends {
		w.stopped = s.flows[len(s.flows)-1].sent
	}
	if !w.called {
		if w.before {
			s.arrived(n, now())
		}
		return
	}
	if w.nth++; w.after(w.nth) {
		at := now()
		s.arrived(n, at)
		if w.first == 0 {
			w.first = at
		}
	}
}

// TestRounds: a deny is measured to the last packet, even if some are stopped
// before it, and an allow to the first.
func TestRounds(t *testing.T) {
	round := func(w *wire, r func(*Stream, context.Context, func(context.Context) error) (Round, error)) (Round, time.Duration, error) {
		s := &Stream{protocol: UDP, limit: time.Second}
		s.polled = func() { w.flow(s) }
		before := now()
		got, err := r(s, context.Background(), w.call)
		return got, w.began - before, err
	}
	late := &wire{before: true, ends: 8, after: func(n int) bool { return n < 4 || n > 6 && n < 9 }}
	if r, slack, err := round(late, (*Stream).Deny); err != nil || r.Took < late.stopped-late.began || r.Took > late.stopped-late.began+slack || r.Odd != 3 {
		t.Errorf("deny: %+v, %v; want %s and 3 odd", r, err, late.stopped-late.began)
	}
	gap := &wire{after: func(n int) bool { return n > 5 && n != 8 }}
	if r, slack, err := round(gap, (*Stream).Allow); err != nil || r.Took < gap.first-gap.began || r.Took > gap.first-gap.began+slack || r.Odd != 1 {
		t.Errorf("allow: %+v, %v; want %s and 1 odd", r, err, gap.first-gap.began)
	}
	never := &wire{before: true, after: func(int) bool { return true }}
	if r, _, err := round(never, (*Stream).Deny); err == nil {
		t.Errorf("a deny that stops nothing: %+v", r)
	}
	never = &wire{before: true}
	if r, _, err := round(never, (*Stream).Allow); err == nil || never.called {
		t.Errorf("an allow of what is open: %+v", r)
	}
	never = &wire{after: func(int) bool { return false }}
	if r, _, err := round(never, (*Stream).Allow); err == nil {
		t.Errorf("an allow that opens nothing: %+v", r)
	}
	failure := errors.New("no")
	s := &Stream{}
	w := &wire{before: true}
	s.polled = func() { w.flow(s) }
	if _, err := s.Deny(context.Background(), func(context.Context) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("a call that fails: %v", err)
	}
}
