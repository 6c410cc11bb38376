package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

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
		log.Warn("kept state is not used: nothing is enforced before the cluster has been read", "error", err)
		return false, nil
	case k.SameBoot || b.Holds != nil && b.Holds():
		log.Info("the kernel keeps the rules that it has until the cluster has been read")
		return false, nil
	}
	objects, err := k.State.Objects()
	if err != nil {
		log.Warn("kept state is not used: nothing is enforced before the cluster has been read", "error", err)
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
