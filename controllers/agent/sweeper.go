package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// sweeper ends established connections that the policy does not allow any more, and keeps
// them from coming back.
//
//	note, noteLinks, noteAll   a change concerns the connections of these addresses
//	now                        the kernel has come up to date: sweep
//	due, listed, take          a sweep that can wait is due; the kernel's table has been read
//	lookDue                    look for what has come back
//
// It reads the index and the kernel's table of connections (Options.Conntrack), deletes
// entries of the latter, and has the backend bar what would bring cut connections back
// (dataplane.Barrer). All of it is Run's goroutine's, but for the reading of the table: a
// goroutine of its own reads it while transactions go on. Without a table it does nothing.
//
// Files: sweeper.go (what waits for a sweep, and when it begins), sweep.go (one sweep),
// cut.go (what was cut, and must not come back).
type sweeper struct {
	*node
	// Whose connections are swept after the next transaction, and when it is time.
	soon, later sweepState
	// at is when what can wait is swept; zero: nothing waits.
	at time.Time
	// listing is the sweep that reads the kernel's table; nil: none does.
	listing *listing
	// cuts are what sweeps have cut.
	cuts cuts
}

func newSweeper(n *node) *sweeper {
	return &sweeper{node: n, cuts: cuts{back: map[model.Flow]cutFlow{}}}
}

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

// note notes whose connections a change concerns. Of an endpoint with
// another policy, or that is new or gone, they are all of its own; a host
// endpoint's policy may concern what passes through the node, so it stands for
// all. Who enters or leaves a set is a peer of whoever the set is for.
func (s *sweeper) note(d *index.Delta, ch *dataplane.Change) {
	if s.opts.Conntrack == nil {
		return
	}
	if d.Settings || slices.ContainsFunc(d.NodeObjects, s.local) {
		s.soon.addAll()
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
				s.soon.addAll()
			}
			for _, addr := range e.Addrs {
				s.soon.add(netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
	for i := range ch.Sets {
		if ch.Sets[i].New {
			continue // it comes with programs, and those with endpoints
		}
		for _, list := range [][]index.Member{ch.Sets[i].Added, ch.Sets[i].Removed} {
			for _, m := range list {
				s.later.add(m.Prefix)
			}
		}
	}
	s.plan()
}

// sameProgram reports whether an endpoint has a new policy with the programs of the one
// before.
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

// noteLinks has connections examined a little later whose verdict changes with the
// links: those of addresses that the node has got, which counted as others' until
// now, and all of them where a route may lead to another host endpoint. Connections
// of addresses that are gone end by themselves.
func (s *sweeper) noteLinks(before, now *model.Links) {
	if s.opts.Conntrack == nil || before == nil {
		return // the first transaction examines all
	}
	for _, n := range now.Addrs {
		if !slices.ContainsFunc(before.Addrs, func(b model.LinkAddr) bool { return b.Addr == n.Addr }) {
			s.later.add(netip.PrefixFrom(n.Addr, n.Addr.BitLen()))
		}
	}
	if !slices.Equal(before.Routes, now.Routes) || !slices.Equal(before.Tunnels, now.Tunnels) {
		if slices.ContainsFunc(s.comp.Endpoints(), func(e dataplane.Endpoint) bool { return e.Host != nil }) {
			s.later.addAll()
		}
	}
	s.plan()
}

// noteAll has all connections examined after the next transaction: the kernel's rules
// were not as they should be.
func (s *sweeper) noteAll() {
	if s.opts.Conntrack != nil {
		s.soon.addAll()
	}
}

// plan has what can wait swept after a delay.
func (s *sweeper) plan() {
	if s.later.waits() && s.at.IsZero() {
		s.at = s.clock.Now().Add(s.opts.SweepDelay)
	}
}

// now is called when the kernel has come up to date. Where a sweep is at
// work, the next one begins after it.
func (s *sweeper) now(ctx context.Context) {
	if !s.soon.waits() || s.listing != nil {
		return
	}
	what := s.soon
	s.soon = sweepState{}
	// Once more a little later: a packet that met the old rules just before they
	// went may make its entry after the first sweep has passed.
	s.later.merge(&what)
	s.plan()
	s.sweep(ctx, &what, false)
}

// due is called when what can wait has waited. It waits on while the kernel is not up to
// date: what was deleted would come back.
func (s *sweeper) due(ctx context.Context, upToDate bool) {
	if !upToDate || s.listing != nil {
		s.plan()
		return
	}
	what := s.later
	s.later = sweepState{}
	s.sweep(ctx, &what, true)
}
