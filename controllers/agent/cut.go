package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/policy/model"
)

// cuts are the connections that sweeps have cut, by the flow that would bring
// them back: the other side's next packet. A backend that can bars these flows
// (dataplane.Barrer); of others the entries that such packets make are cut again.
// See dataplane/conntrack for the contract.
type cuts struct {
	back map[model.Flow]cutFlow
	// order has the flows in the order in which they were cut. Some may be gone.
	order []model.Flow
	// lookAt is when the next look for what has come back is due, zero: never, and
	// pause how long after the one before.
	lookAt time.Time
	pause  time.Duration
}

// cutFlow is why a flow must not come back.
type cutFlow struct {
	// entry was cut. Its policy decides whether it still is.
	entry *conntrack.Entry
	until time.Time
}

// tellsSides reports whether the ports of a flow tell which end is the server:
// where they are equal, or there are none, either may have begun.
func tellsSides(f *model.Flow) bool { return f.SrcPort != f.DstPort }

// hasBeginning reports whether a packet shows that it begins a connection.
func hasBeginning(p model.Protocol) bool { return p == model.TCP || p == model.SCTP }

func reverse(f model.Flow) model.Flow {
	f.Src, f.SrcPort, f.Dst, f.DstPort = f.Dst, f.DstPort, f.Src, f.SrcPort
	return f
}

// add notes a flow that must not come back until a time. The oldest give way to it.
func (c *cuts) add(back model.Flow, e *conntrack.Entry, until time.Time) {
	if _, known := c.back[back]; !known {
		c.order = append(c.order, back)
	}
	c.back[back] = cutFlow{e, until}
	for len(c.back) > dataplane.MaxBarred {
		delete(c.back, c.order[0])
		c.order = c.order[1:]
	}
	if len(c.order) > 2*len(c.back)+64 {
		c.compact()
	}
}

// watched returns the flows that make entries if nothing bars them.
func (c *cuts) watched() []model.Flow {
	return slices.DeleteFunc(slices.Collect(maps.Keys(c.back)), func(f model.Flow) bool { return f.Protocol == model.TCP })
}

// compact drops from the order what is gone.
func (c *cuts) compact() {
	kept, seen := make([]model.Flow, 0, len(c.back)), make(map[model.Flow]bool, len(c.back))
	for _, f := range c.order {
		if _, there := c.back[f]; there && !seen[f] {
			kept, seen[f] = append(kept, f), true
		}
	}
	c.order = kept
}

// cutting is an entry that is about to be cut.
type cutting struct {
	entry *conntrack.Entry
	// back is the flow that would bring the connection back.
	back model.Flow
	// cause is the connection that the policy denies. Where back has brought one
	// back, or begun another path of it, it is the other way round than entry.
	cause *conntrack.Entry
}

// pardon forgets what has been cut for long enough and, of the addresses, what the
// policy allows by now. It returns the latter.
func (s *sweeper) pardon(now time.Time, concerned func(netip.Addr) bool) []model.Flow {
	var allowed []model.Flow
	for _, back := range s.cuts.order {
		c, there := s.cuts.back[back]
		switch {
		case !there:
		case !now.Before(c.until):
			delete(s.cuts.back, back)
		case c.entry.Touches(concerned) && s.decide(c.entry) != model.Deny:
			delete(s.cuts.back, back)
			allowed = append(allowed, back)
		}
	}
	s.cuts.compact()
	return allowed
}

// decideTracked is decide, but for what has brought a cut connection back: that is
// judged as the connection was.
func (s *sweeper) decideTracked(e *conntrack.Entry) model.Action {
	if _, cut := s.cuts.back[e.Flow()]; cut && e.Original.Protocol != model.TCP {
		return model.Deny
	}
	return s.decide(e)
}

// toCut returns what a sweep is to cut: what is denied, and the other paths of it.
func (s *sweeper) toCut(found *conntrack.Sweep) []cutting {
	var out []cutting
	known := map[*conntrack.Entry]struct{}{}
	for _, e := range found.Denied(s.decideTracked) {
		c := cutting{e, reverse(e.Flow()), e}
		if again, ok := s.cuts.back[e.Flow()]; ok {
			c.back, c.cause = e.Flow(), again.entry
		}
		out = append(out, c)
		known[e] = struct{}{}
	}
	cut := s.associations(out)
	if len(cut) == 0 {
		return out
	}
	for e := range found.Entries() {
		if _, denied := known[e]; denied || !s.otherPath(cut, e) {
			continue
		}
		out = append(out, cutting{e, e.Flow(), turned(e)})
	}
	return out
}

// pathEnd is what one end of an association knows another path of it by.
type pathEnd struct {
	host     model.Ref // of an address that no endpoint has: the address
	begins   bool      // the other path begins at host
	src, dst uint16    // its ports
}

func (s *sweeper) pathEnds(f *model.Flow) [2]pathEnd {
	host := func(addr netip.Addr) model.Ref {
		if r := s.ix.Owner(addr); r != (model.Ref{}) {
			return r
		}
		return model.Ref{Name: addr.String()}
	}
	return [2]pathEnd{{host(f.Src), true, f.SrcPort, f.DstPort}, {host(f.Dst), false, f.SrcPort, f.DstPort}}
}

// associations returns by what other paths of the associations that are about to
// be cut are known, if their server's HEARTBEAT has begun them: the policy would
// be asked about these as if the server had begun the association.
func (s *sweeper) associations(list []cutting) map[pathEnd]struct{} {
	out := map[pathEnd]struct{}{}
	for i := range list {
		if back := &list[i].back; back.Protocol == model.SCTP && tellsSides(back) {
			for _, end := range s.pathEnds(back) {
				out[end] = struct{}{}
			}
		}
	}
	return out
}

// otherPath reports whether an entry is another path of an association that is
// cut, between addresses of which the policy denies the client's too.
func (s *sweeper) otherPath(cut map[pathEnd]struct{}, e *conntrack.Entry) bool {
	f := e.Flow()
	if f.Protocol != model.SCTP {
		return false
	}
	for _, end := range s.pathEnds(&f) {
		if _, ok := cut[end]; ok {
			return s.decide(turned(e)) == model.Deny
		}
	}
	return false
}

// turned is the connection that the other side would have begun.
func turned(e *conntrack.Entry) *conntrack.Entry {
	f := e.Flow()
	tuple := func(f model.Flow) conntrack.Tuple {
		return conntrack.Tuple{Src: f.Src, Dst: f.Dst, Protocol: f.Protocol, SrcPort: f.SrcPort, DstPort: f.DstPort}
	}
	return &conntrack.Entry{Original: tuple(reverse(f)), Reply: tuple(f), Zone: e.Zone}
}

// keepCut notes what is about to be cut, and returns the flows that a bar keeps
// out. watched reports whether some may come back that only a sweep finds.
func (s *sweeper) keepCut(list []cutting, now time.Time) (bar []model.Flow, watched bool) {
	for i := range list {
		c := &list[i]
		if !c.back.Protocol.HasPorts() {
			continue // either side may have begun
		}
		kept := dataplane.BarTime
		if !tellsSides(&c.back) {
			// Either side may have begun: only what was under way is cut.
			kept = 2 * s.opts.SweepDelay
			if _, again := s.cuts.back[c.back]; again {
				continue
			}
		}
		if c.back.Protocol != model.TCP {
			watched = true
			s.later.add(netip.PrefixFrom(c.back.Src, c.back.Src.BitLen()))
		}
		s.cuts.add(c.back, c.cause, now.Add(kept))
		if tellsSides(&c.back) || hasBeginning(c.back.Protocol) {
			bar = append(bar, c.back)
		}
	}
	return bar, watched
}

// bar has the kernel keep out what would bring cut connections back, and no longer
// what is allowed.
func (s *sweeper) bar(ctx context.Context, in, out []model.Flow) {
	b, ok := s.opts.Backend.(dataplane.Barrer)
	if !ok {
		return
	}
	if len(in) > dataplane.MaxBarred {
		in = in[len(in)-dataplane.MaxBarred:]
	}
	var errs []error
	if len(out) > 0 {
		errs = append(errs, b.Unbar(ctx, out))
	}
	if len(in) > 0 {
		errs = append(errs, b.Bar(ctx, in))
	}
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		s.metrics.failed("bar")
		s.log.Error("connections that were cut may come back", "error", err)
	}
}

// lookAgain plans the next look for what has come back: soon after something was
// cut and, without a bar in the kernel, after longer and longer pauses for as long
// as cut flows are kept.
func (s *sweeper) lookAgain(watched, again bool) {
	switch _, barred := s.opts.Backend.(dataplane.Barrer); {
	case watched:
		s.cuts.pause, s.cuts.lookAt = s.opts.SweepDelay, time.Time{}
		s.plan()
	case again && !barred && len(s.cuts.watched()) > 0:
		s.cuts.pause *= 2
		s.cuts.lookAt = s.clock.Now().Add(s.cuts.pause)
	}
}

// lookDue is called when it is time to look for what has come back.
func (s *sweeper) lookDue() {
	for _, back := range s.cuts.watched() {
		s.later.add(netip.PrefixFrom(back.Src, back.Src.BitLen()))
	}
	s.plan()
}
