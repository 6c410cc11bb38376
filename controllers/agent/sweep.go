package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// sweepState is whose connections wait for a sweep.
type sweepState struct {
	// all addresses, or these and those in blocks.
	all    bool
	addrs  map[netip.Addr]struct{}
	blocks []netip.Prefix
}

func (s *sweepState) waits() bool { return s.all || len(s.addrs) > 0 || len(s.blocks) > 0 }

func (s *sweepState) addAll() { *s = sweepState{all: true} }

func (s *sweepState) add(p netip.Prefix) {
	if s.all {
		return
	}
	if !p.IsSingleIP() {
		if !slices.Contains(s.blocks, p) {
			s.blocks = append(s.blocks, p)
		}
		return
	}
	if s.addrs == nil {
		s.addrs = map[netip.Addr]struct{}{}
	}
	s.addrs[p.Addr()] = struct{}{}
}

func (s *sweepState) contains(a netip.Addr) bool {
	if s.all {
		return true
	}
	if _, ok := s.addrs[a]; ok {
		return true
	}
	return slices.ContainsFunc(s.blocks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// noteSweep notes whose connections a change concerns. Of an endpoint with
// another policy, or that is new or gone, they are all of its own; a host
// endpoint's policy may concern what passes through the node, so it stands for
// all. Who enters or leaves a set is a peer of whoever the set is for.
func (a *Agent) noteSweep(d *index.Delta, ch *dataplane.Change) {
	if a.opts.Conntrack == nil {
		return
	}
	if d.Settings || slices.ContainsFunc(d.NodeObjects, a.local) {
		a.sweepSoon.addAll()
	}
	for i := range ch.Endpoints {
		if sameProgram(&ch.Endpoints[i]) {
			continue
		}
		for _, e := range []dataplane.Endpoint{ch.Endpoints[i].Before, ch.Endpoints[i].After} {
			if e.LocalEndpoint == nil {
				continue
			}
			if e.Host != nil {
				a.sweepSoon.addAll()
			}
			for _, addr := range e.Addrs {
				a.sweepSoon.add(netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
	for i := range ch.Sets {
		if ch.Sets[i].New {
			continue // it comes with programs, and those with endpoints
		}
		for _, list := range [][]index.Member{ch.Sets[i].Added, ch.Sets[i].Removed} {
			for _, m := range list {
				a.sweepLater.add(m.Prefix)
			}
		}
	}
	a.planSweep()
}

// sameProgram says that an endpoint's policy is new and says the same as before.
func sameProgram(c *dataplane.EndpointChange) bool {
	b, n := c.Before, c.After
	if b.Policy == nil || n.Policy == nil || !slices.Equal(b.Addrs, n.Addrs) || !sameHost(b.Host, n.Host) {
		return false
	}
	return slices.Equal(b.Policy.Programs, n.Policy.Programs)
}

func sameHost(b, n *model.HostEndpoint) bool {
	if b == nil || n == nil {
		return b == n
	}
	return *b == *n
}

func (a *Agent) planSweep() {
	if a.sweepLater.waits() && a.sweepAt.IsZero() {
		a.sweepAt = a.clock.Now().Add(a.opts.SweepDelay)
	}
}

// merge adds what another one waits for.
func (s *sweepState) merge(o *sweepState) {
	if o.all {
		s.addAll()
	}
	for addr := range o.addrs {
		s.add(netip.PrefixFrom(addr, addr.BitLen()))
	}
	for _, p := range o.blocks {
		s.add(p)
	}
}

// sweepNow is called when the kernel has come up to date. Where a sweep is at
// work, the next one begins after it.
func (a *Agent) sweepNow(ctx context.Context) {
	if !a.sweepSoon.waits() || a.listing != nil {
		return
	}
	what := a.sweepSoon
	a.sweepSoon = sweepState{}
	// Once more a little later: a packet that met the old rules just before they
	// went may make its entry after the first sweep has passed.
	a.sweepLater.merge(&what)
	a.planSweep()
	a.sweep(ctx, &what, false)
}

// sweepDue is called when what can wait has waited. It waits on while the kernel
// lags behind: what was deleted would come back.
func (a *Agent) sweepDue(ctx context.Context) {
	if a.dirty || !a.synced || a.listing != nil {
		a.planSweep()
		return
	}
	what := a.sweepLater
	a.sweepLater = sweepState{}
	a.sweep(ctx, &what, true)
}

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
func (a *Agent) sweep(ctx context.Context, what *sweepState, again bool) {
	l := &listing{what: *what, again: again, began: a.clock.Now(), over: make(chan struct{})}
	if what.all {
		l.found = conntrack.Find(ctx, a.opts.Conntrack, a.wanted)
		a.judge(ctx, l)
		return
	}
	a.listing = l
	a.listers.Go(func() {
		defer close(l.over)
		l.found = conntrack.Find(ctx, a.opts.Conntrack, func(e *conntrack.Entry) bool { return e.Touches(l.what.contains) })
	})
}

// wanted reports whether a sweep of all addresses has to keep an entry: it is
// denied, or may be another path of one that is.
func (a *Agent) wanted(e *conntrack.Entry) bool {
	return e.Original.Protocol == model.SCTP || a.decideTracked(e) == model.Deny
}

// listed is closed when the listing that is at work is over; nil: there is none.
func (a *Agent) listed() <-chan struct{} {
	if a.listing == nil {
		return nil
	}
	return a.listing.over
}

// sweepListed is the second half of a sweep. The policy is asked as it is by now.
func (a *Agent) sweepListed(ctx context.Context) {
	defer a.health.busy()()
	l := a.listing
	a.listing = nil
	switch {
	case !a.dirty:
		a.judge(ctx, l)
	case l.again:
		a.sweepLater.merge(&l.what)
		a.planSweep()
	default: // the kernel has fallen behind: when it is up to date again
		a.sweepSoon.merge(&l.what)
	}
	if !a.dirty {
		a.sweepNow(ctx)
	}
}

// judge has the policy decide about what a sweep has found. What the policy denies
// is barred before it is deleted: no packet is to bring it back in between.
func (a *Agent) judge(ctx context.Context, l *listing) {
	now := a.clock.Now()
	allowed := a.pardon(now, l.what.contains)
	list := a.toCut(l.found)
	denied := make([]*conntrack.Entry, 0, len(list))
	for i := range list {
		denied = append(denied, list[i].entry)
	}
	barred, watched := a.keepCut(list, now)
	a.bar(ctx, barred, allowed)
	n, err := l.found.Delete(ctx, a.opts.Conntrack, denied)
	took := a.clock.Since(l.began)
	a.metrics.swept.Add(float64(n))
	a.metrics.sweeps.Observe(took.Seconds())
	if n > 0 {
		a.log.Info("established connections cut", "connections", n, "took", took)
	}
	if err != nil && ctx.Err() == nil {
		a.metrics.failed("conntrack")
		a.log.Error("established connections not all examined", "error", err)
	}
	a.lookAgain(watched, l.again)
}

// decide asks the policy of this node about a tracked connection.
func (a *Agent) decide(e *conntrack.Entry) model.Action {
	return verdict.DecideTranslatedAt(a.ix, a.opts.Node, e.FlowBeforeNAT(), e.Flow()).Action
}
