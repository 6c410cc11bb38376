package agent

import (
	"context"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// sweepState is whose connections wait for a sweep.
type sweepState struct {
	// all addresses, or these and those in blocks.
	all    bool
	addrs  map[netip.Addr]struct{}
	blocks []netip.Prefix
	// urgent: right after the transaction.
	urgent bool
}

func (s *sweepState) waits() bool { return s.all || len(s.addrs) > 0 || len(s.blocks) > 0 }

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
func (a *Agent) noteSweep(d *policy.Delta, ch *dataplane.Change) {
	if a.opts.Conntrack == nil {
		return
	}
	s := &a.sweeping
	if d.Settings || slices.ContainsFunc(d.Nodes, a.local) {
		s.all, s.urgent = true, true
	}
	for i := range ch.Endpoints {
		for _, e := range []dataplane.Endpoint{ch.Endpoints[i].Before, ch.Endpoints[i].After} {
			if e.LocalEndpoint == nil {
				continue
			}
			s.urgent = true
			if e.Host != nil {
				s.all = true
			}
			for _, addr := range e.Addrs {
				s.add(netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
	for i := range ch.Sets {
		if ch.Sets[i].New {
			continue // it comes with programs, and those with endpoints
		}
		for _, list := range [][]policy.Member{ch.Sets[i].Added, ch.Sets[i].Removed} {
			for _, m := range list {
				s.add(m.Prefix)
			}
		}
	}
	if s.all {
		s.addrs, s.blocks = nil, nil
	}
	if s.waits() && a.sweepAt.IsZero() {
		a.sweepAt = a.clock.Now().Add(a.opts.SweepDelay)
	}
}

// sweep deletes tracked connections that the policy does not allow any more. It
// waits while the kernel lags behind: what it deleted would come back.
func (a *Agent) sweep(ctx context.Context) {
	if !a.sweeping.waits() {
		return
	}
	if a.dirty || !a.synced {
		a.sweepAt = a.clock.Now().Add(a.opts.SweepDelay)
		return
	}
	what := a.sweeping
	a.sweeping = sweepState{}
	if what.urgent {
		// Once more a little later: a packet that met the old rules just before
		// they went may make its entry after the first sweep has passed.
		a.sweeping = what
		a.sweeping.urgent = false
		a.sweepAt = a.clock.Now().Add(a.opts.SweepDelay)
	}
	start := a.clock.Now()
	n, err := conntrack.SweepEntries(ctx, a.opts.Conntrack, what.contains, a.decide)
	took := a.clock.Since(start)
	a.metrics.swept.Add(float64(n))
	a.metrics.sweeps.Observe(took.Seconds())
	if n > 0 {
		a.log.Info("established connections cut", "connections", n, "took", took)
	}
	if err != nil && ctx.Err() == nil {
		a.metrics.failed("conntrack")
		a.log.Error("established connections not all examined", "error", err)
	}
}

// decide asks the policy about a tracked connection.
func (a *Agent) decide(e *conntrack.Entry) model.Action {
	f, before := e.Flow(), e.FlowBeforeNAT()
	if f == before {
		return a.verdict(&f, func(model.Stage) bool { return true })
	}
	// The stages before routing saw the packet as it came, the others after NAT.
	early := func(s model.Stage) bool { return s == model.StagePreDNAT || s == model.StageUntracked }
	if a.verdict(&before, early) == model.Deny {
		return model.Deny
	}
	return a.verdict(&f, func(s model.Stage) bool { return !early(s) })
}

// verdict is Deny if one of the stages that count denies.
func (a *Agent) verdict(f *model.Flow, counts func(model.Stage) bool) model.Action {
	d := a.ix.Decide(*f)
	for i := range d.Stages {
		v := &d.Stages[i]
		if v.Action != model.Deny || !counts(v.Stage) {
			continue
		}
		if v.Reason == model.ReasonUnknownWorkload && !a.ownPod(f, v.Direction) {
			continue // of another node, which knows better
		}
		return model.Deny
	}
	return model.Allow
}

// ownPod says whether the address on a side of a flow is a pod's of this node.
func (a *Agent) ownPod(f *model.Flow, dir model.Direction) bool {
	addr := f.Src
	if dir == model.Ingress {
		addr = f.Dst
	}
	n := a.ix.Node(a.opts.Node)
	return n != nil && slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(addr) })
}
