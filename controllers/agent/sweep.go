package agent

import (
	"context"
	"time"

	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// listing is the first half of a sweep: reading the kernel's table takes long
// where there are many connections, and must not hold up transactions.
type listing struct {
	what  sweepState
	again bool // it is the one that looks once more
	began time.Time
	found *conntrack.Sweep // there when over is closed
	over  chan struct{}
}

// sweep deletes tracked connections that the policy does not allow any more: at
// once where it is about all of them, for they are too many to be kept in memory,
// and otherwise when they are listed.
func (s *sweeper) sweep(ctx context.Context, what *sweepState, again bool) {
	l := &listing{what: *what, again: again, began: s.clock.Now(), over: make(chan struct{})}
	if what.all {
		l.found = conntrack.Find(ctx, s.opts.Conntrack, s.wanted)
		s.judge(ctx, l)
		return
	}
	s.listing = l
	s.beside.Go(func() {
		defer close(l.over)
		l.found = conntrack.Find(ctx, s.opts.Conntrack, func(e *conntrack.Entry) bool { return e.Touches(l.what.contains) })
	})
}

// wanted reports whether a sweep of all addresses has to keep an entry: it is
// denied, or may be another path of one that is.
func (s *sweeper) wanted(e *conntrack.Entry) bool {
	return e.Original.Protocol == model.SCTP || s.decideTracked(e) == model.Deny
}

// listed is closed when the listing that is at work is over; nil: there is none.
func (s *sweeper) listed() <-chan struct{} {
	if s.listing == nil {
		return nil
	}
	return s.listing.over
}

// take is the second half of a sweep. The policy is asked as it is by now. If the kernel
// has fallen behind meanwhile, the sweep begins anew when it is up to date.
func (s *sweeper) take(ctx context.Context, upToDate bool) {
	defer s.health.busy()()
	l := s.listing
	s.listing = nil
	switch {
	case upToDate:
		s.judge(ctx, l)
	case l.again:
		s.later.merge(&l.what)
		s.plan()
	default:
		s.soon.merge(&l.what)
	}
	if upToDate {
		s.now(ctx)
	}
}

// judge has the policy decide about what a sweep has found. What the policy denies
// is barred before it is deleted: no packet is to bring it back in between.
func (s *sweeper) judge(ctx context.Context, l *listing) {
	now := s.clock.Now()
	allowed := s.pardon(now, l.what.contains)
	list := s.toCut(l.found)
	denied := make([]*conntrack.Entry, 0, len(list))
	for i := range list {
		denied = append(denied, list[i].entry)
	}
	barred, watched := s.keepCut(list, now)
	s.bar(ctx, barred, allowed)
	n, err := l.found.Delete(ctx, s.opts.Conntrack, denied)
	took := s.clock.Since(l.began)
	s.metrics.swept.Add(float64(n))
	s.metrics.sweeps.Observe(took.Seconds())
	if n > 0 {
		s.log.Info("established connections cut", "connections", n, "took", took)
	}
	if err != nil && ctx.Err() == nil {
		s.metrics.failed("conntrack")
		s.log.Error("not all established connections could be examined", "error", err)
	}
	s.lookAgain(watched, l.again)
}

// decide asks the policy of this node about a tracked connection.
func (s *sweeper) decide(e *conntrack.Entry) model.Action {
	return verdict.DecideTranslatedAt(s.ix, s.opts.Node, e.FlowBeforeNAT(), e.Flow()).Action
}
