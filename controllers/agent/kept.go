package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// keepDelay is the least time from a change to the file that has it.
const keepDelay = 5 * time.Second

// Boot is what puts kept state into the kernel of a node that has started anew.
type Boot struct {
	// Store of the state.
	Store *kept.Store
	// Holds reports whether the kernel has rules of Tierwall's; nil: it is asked
	// nothing. One that has is left alone, whatever the file says of the boot.
	Holds func() bool
	// Links reads the node's own interfaces, which are not kept; nil: the node has the
	// addresses of its Node object.
	Links links.Reader
}

// Restore puts the kept state into the kernel by a backend, and reports whether it
// did: not after a mere restart of the agent. What cannot be read is no error but
// nothing kept, and logged. Later Syncs replace it.
func (b *Boot) Restore(ctx context.Context, backend dataplane.Backend, o dataplane.Options, log *slog.Logger) (bool, error) {
	k, err := b.Store.Load()
	switch {
	case errors.Is(err, kept.ErrNone):
		log.Info("no kept state: nothing is enforced before the cluster has been read")
		return false, nil
	case err != nil:
		log.Warn("kept state is left out: nothing is enforced before the cluster has been read", "error", err)
		return false, nil
	case k.SameBoot || b.Holds != nil && b.Holds():
		log.Info("the kernel keeps the rules that it has until the cluster has been read")
		return false, nil
	}
	objects, err := k.State.Objects()
	if err != nil {
		log.Warn("kept state is left out: nothing is enforced before the cluster has been read", "error", err)
		return false, nil
	}
	if err := backend.Sync(ctx, b.state(k.Node, objects, o, log)); err != nil {
		return false, err
	}
	log.Info("kept state is in force until the cluster has been read", "hostEndpoints", len(k.State.Hosts), "policies", len(k.State.Policies))
	return true, nil
}

// state is what the kernel holds until the cluster has been read.
func (b *Boot) state(node string, objects []model.Object, o dataplane.Options, log *slog.Logger) *dataplane.State {
	ix := index.New(index.Options{Local: func(n string) bool { return n == node }})
	for _, o := range objects {
		ix.Upsert(o)
	}
	if b.Links != nil {
		if l, err := b.Links.Read(links.Pods{}); err != nil {
			log.Warn("the node's interfaces cannot be read", "error", err)
		} else {
			l.Node = node
			ix.Upsert(l)
		}
	}
	comp := dataplane.NewCompiler(o)
	comp.Apply(ix.Flush())
	s := dataplane.NewState(ix, node, comp)
	for _, n := range ix.Nodes() {
		s.ClusterAddrs = append(s.ClusterAddrs, n.Addrs...)
		if n.Name != node {
			s.Foreign = append(s.Foreign, within(s.PodCIDRs, n.Addrs)...)
		}
	}
	for _, list := range []*[]netip.Addr{&s.ClusterAddrs, &s.Foreign} {
		slices.SortFunc(*list, netip.Addr.Compare)
		*list = slices.Compact(*list)
	}
	s.ForeignNets = s.Links.TunnelledWithin(s.PodCIDRs)
	return s
}

// within returns the addresses that lie in blocks.
func within(blocks []netip.Prefix, addrs []netip.Addr) (out []netip.Addr) {
	for _, addr := range addrs {
		if slices.ContainsFunc(blocks, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			out = append(out, addr)
		}
	}
	return out
}

// keeping is the agent's part of kept state.
type keeping struct {
	at   time.Time // when what has changed is to be written; zero: nothing has
	busy atomic.Bool
}

// restoreKept is the first thing that a starting agent does. A failure costs
// nothing but what was kept.
func (a *Agent) restoreKept(ctx context.Context) {
	if a.opts.Boot == nil {
		return
	}
	boot := *a.opts.Boot
	if boot.Links == nil {
		boot.Links = a.opts.Links
	}
	restore := func() error {
		restored, err := boot.Restore(ctx, a.opts.Backend, a.opts.Compiler, a.log)
		a.fresh = restored || err == nil && boot.Holds != nil && !boot.Holds()
		return err
	}
	var err error
	if a.opts.Watcher != nil {
		err = a.opts.Watcher.Own(restore)
	} else {
		err = restore()
	}
	if err != nil {
		a.metrics.failed("kept")
		a.log.Error("kept state is not in force: nothing is enforced before the cluster has been read", "error", err)
	}
}

// noteKept notes a change that concerns what is kept.
func (a *Agent) noteKept(d *index.Delta, ch *dataplane.Change) {
	if a.opts.Boot == nil || !a.keeping.at.IsZero() {
		return
	}
	changed := d.Settings || len(d.Nodes) > 0 || len(ch.Sets) > 0 // of whatever endpoint: Save compares
	for i := range ch.Endpoints {
		changed = changed || ch.Endpoints[i].Ref.Kind == model.KindHostEndpoint
	}
	if changed {
		a.keeping.at = a.clock.Now().Add(keepDelay)
	}
}

// keepDue is called when it is time to write what is kept. It waits on while the
// kernel is behind: what it does not take is not kept.
func (a *Agent) keepDue() {
	if !a.synced || a.dirty || !a.keeping.busy.CompareAndSwap(false, true) {
		a.keeping.at = a.clock.Now().Add(keepDelay)
		return
	}
	s := a.takeKept()
	a.listers.Go(func() { // a slow disk holds up no transaction
		defer a.keeping.busy.Store(false)
		a.saveKept(s)
	})
}

// keepLast writes what has not been written when the agent ends.
func (a *Agent) keepLast() {
	if a.opts.Boot == nil || a.keeping.at.IsZero() || !a.synced || a.dirty {
		return
	}
	a.saveKept(a.takeKept())
}

func (a *Agent) takeKept() *kept.State {
	var hosts []*model.Endpoint
	for _, e := range a.comp.Endpoints() {
		if e.Ref.Kind != model.KindHostEndpoint {
			continue
		}
		o := a.objects[e.Ref]
		if _, held := a.held[e.Ref]; held {
			o = a.standIn(e.Ref)
		}
		if h, ok := o.(*model.Endpoint); ok {
			hosts = append(hosts, h)
		}
	}
	return kept.Take(a.ix, a.opts.Node, hosts)
}

func (a *Agent) saveKept(s *kept.State) {
	small, err := a.opts.Boot.Store.Save(s)
	switch {
	case err != nil:
		a.metrics.failed("kept")
		a.log.Warn("state for the next boot cannot be kept", "error", err)
	case small:
		a.log.Warn("state for the next boot is too large: only the blocks of pod addresses are kept")
	}
}
