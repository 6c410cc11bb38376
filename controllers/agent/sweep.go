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
func (a *Agent) noteSweep(d *policy.Delta, ch *dataplane.Change) {
	if a.opts.Conntrack == nil {
		return
	}
	if d.Settings || slices.ContainsFunc(d.Nodes, a.local) {
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
		for _, list := range [][]policy.Member{ch.Sets[i].Added, ch.Sets[i].Removed} {
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

// sweepNow is called when the kernel has come up to date.
func (a *Agent) sweepNow(ctx context.Context) {
	if !a.sweepSoon.waits() {
		return
	}
	a.sweep(ctx, &a.sweepSoon)
	// Once more a little later: a packet that met the old rules just before they
	// went may make its entry after the first sweep has passed.
	if a.sweepSoon.all {
		a.sweepLater.addAll()
	}
	for addr := range a.sweepSoon.addrs {
		a.sweepLater.add(netip.PrefixFrom(addr, addr.BitLen()))
	}
	for _, p := range a.sweepSoon.blocks {
		a.sweepLater.add(p)
	}
	a.sweepSoon = sweepState{}
	a.planSweep()
}

// sweepDue is called when what can wait has waited. It waits on while the kernel
// lags behind: what was deleted would come back.
func (a *Agent) sweepDue(ctx context.Context) {
	if a.dirty || !a.synced {
		a.planSweep()
		return
	}
	what := a.sweepLater
	a.sweepLater = sweepState{}
	before := a.cut
	a.cut, a.turned = map[model.Flow]struct{}{}, before
	a.sweep(ctx, &what)
	// Of what was cut now, the reverse is looked for once more.
	now := a.cut
	a.cut, a.turned = map[model.Flow]struct{}{}, nil
	for f := range now {
		if _, back := before[reverse(f)]; back {
			f = reverse(f)
		}
		a.cut[f] = struct{}{}
		a.sweepLater.add(netip.PrefixFrom(f.Src, f.Src.BitLen()))
	}
	a.planSweep()
}

// cutter notes which connections of those without a beginning that shows were cut.
type cutter struct {
	conntrack.Table
	cut map[model.Flow]struct{}
}

// Delete implements conntrack.Table.
func (c cutter) Delete(ctx context.Context, e *conntrack.Entry) (bool, error) {
	deleted, err := c.Table.Delete(ctx, e)
	if f := e.Flow(); deleted && f.Protocol.HasPorts() && f.Protocol != model.TCP {
		c.cut[f] = struct{}{}
	}
	return deleted, err
}

func reverse(f model.Flow) model.Flow {
	f.Src, f.SrcPort, f.Dst, f.DstPort = f.Dst, f.DstPort, f.Src, f.SrcPort
	return f
}

// sweep deletes tracked connections that the policy does not allow any more.
func (a *Agent) sweep(ctx context.Context, what *sweepState) {
	start := a.clock.Now()
	n, err := conntrack.SweepEntries(ctx, cutter{a.opts.Conntrack, a.cut}, what.contains, a.decide)
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
	if _, cut := a.turned[reverse(f)]; cut {
		// An answer that was under way when the connection was cut has made it anew,
		// the wrong way round.
		return model.Deny
	}
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
