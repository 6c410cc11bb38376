package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/tierwall/tierwall/controllers/agent/answers"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// NamesOptions are what an agent needs for rules by DNS name, besides a Backend that is a
// dataplane.Holder.
type NamesOptions struct {
	// Open opens what reads answers, what has them wait, and the rest that a Keeper needs,
	// when the first rule by name comes. Program, Internal, Clock and Log are the agent's.
	Open func() (answers.Options, error)
	// Resolvers are the servers that the node itself asks; nil: none.
	Resolvers func() []netip.Addr
}

// nodeNames is what the agent knows of rules by name. Nothing of it runs before there is one.
type nodeNames struct {
	*node
	keeper *answers.Keeper // nil: there is none yet
	// shown is keeper, for whoever collects metrics.
	shown atomic.Pointer[answers.Keeper]
	// start runs something until the agent ends.
	start  func(run func(context.Context))
	failed error // why there is none, or answers do not wait, though they should
	// tried: the kernel has been tried for a queue; cannotHold is why it has none.
	tried      bool
	cannotHold error
	// changes are by what addresses of names have changed; of room 1, as the Keeper makes
	// one at a time.
	changes chan nameChange
	// owed are changes that are in the index and wait for the transaction that brings them.
	owed []func(error)
	// more: the Keeper knew addresses of patterns that rules speak of since the last transaction.
	more bool
	// learning: what is being carried on is what answers have brought, or what has expired
	// and no connection uses: nobody's connections are to be cut for it.
	learning bool
	// stale: the endpoints with rules by name are others than those of answers.
	stale bool
	// answers is what the State says; begin: the kernel does not have it yet.
	begin   bool
	answers *dataplane.Answers
}

type nameChange struct {
	deltas []names.Delta
	done   func(error)
}

func newNodeNames(n *node) *nodeNames { return &nodeNames{node: n, changes: make(chan nameChange, 1)} }

// open makes the Keeper, if rules speak of names and there is none.
func (n *nodeNames) open() {
	if n.keeper != nil || n.failed != nil || n.opts.Names == nil || n.start == nil || len(n.ix.Patterns()) == 0 {
		return
	}
	o, err := n.opts.Names.Open()
	if err != nil {
		n.failed = err
		n.log.Error("cannot learn addresses of names: rules by name match nothing", "error", err)
		return
	}
	o.Clock, o.Log = n.clock, n.log.With(slog.String("part", "names"))
	o.Internal = n.internal
	o.Program = func(deltas []names.Delta, done func(error)) { n.changes <- nameChange{deltas, done} }
	n.keeper = answers.New(o)
	n.configure()
	n.shown.Store(n.keeper)
	n.start(n.keeper.Run)
}

// configure tells the Keeper what the settings say.
func (n *nodeNames) configure() {
	if n.keeper == nil {
		return
	}
	s := n.ix.Settings().DNS
	n.keeper.Configure(answers.Config{
		Servers: n.servers(), Table: s.NameOptions(), Observe: s.ObserveOnly,
		TakeInternal: s.TakeInternal,
	})
}

// servers are those whose answers count. Sorted.
func (n *nodeNames) servers() []netip.Addr {
	s := n.ix.Settings().DNS
	if s.TrustedServers != nil {
		return s.TrustedServers
	}
	var out []netip.Addr
	if n.opts.Names != nil && n.opts.Names.Resolvers != nil {
		out = append(out, n.opts.Names.Resolvers()...)
	}
	if l := n.ix.Links(n.opts.Node); l != nil {
		for _, x := range l.Addrs {
			if x.Interface == nodeLocalLink {
				out = append(out, x.Addr)
			}
		}
	}
	for _, s := range dnsServices {
		out = append(out, n.ix.ServiceAddrs(s)...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// dnsServices are the Services by which distributions of Kubernetes serve DNS.
var dnsServices = []model.ServiceRef{
	{Namespace: "kube-system", Name: "kube-dns"}, {Namespace: "kube-system", Name: "coredns"},
	{Namespace: "kube-system", Name: "rke2-coredns-rke2-coredns"}, {Namespace: "openshift-dns", Name: "dns-default"},
}

// nodeLocalLink is the interface whose addresses a DNS cache on the node listens at.
const nodeLocalLink = "nodelocaldns"

// internal reports whether an address is of the cluster itself, which no answer may bring.
// Safe for concurrent use.
func (n *nodeNames) internal(a netip.Addr) bool {
	n.ixMu.RLock()
	defer n.ixMu.RUnlock()
	return n.ix.Internal(a) != ""
}

// note takes what a change of the index means for names, and reports whether the State is
// another one for it.
func (n *nodeNames) note(d *index.Delta) (changed bool) {
	n.stale = n.stale || d.ByName
	if len(d.PatternsAdded)+len(d.PatternsRemoved) == 0 && n.keeper == nil {
		return false
	}
	n.open()
	if n.keeper == nil {
		return false
	}
	if d.Settings || len(d.Nodes) > 0 {
		n.configure()
	}
	if len(d.PatternsAdded)+len(d.PatternsRemoved) > 0 {
		n.more = n.apply(n.keeper.Use(d.PatternsAdded, d.PatternsRemoved)) || n.more
	}
	return !n.learning && n.findAnswers()
}

// apply puts into the index by what addresses of names have changed, and reports
// whether any have.
func (n *nodeNames) apply(deltas []names.Delta) bool {
	if len(deltas) == 0 {
		return false
	}
	n.flows.Begin(false)
	n.ixMu.Lock()
	defer n.ixMu.Unlock()
	n.ix.ApplyNames(deltas)
	return true
}

// findAnswers brings up to date which answers wait, and reports whether others do than before.
func (n *nodeNames) findAnswers() (changed bool) {
	if !n.stale && (n.answers == nil || slices.Equal(n.answers.Servers, n.servers())) {
		return false
	}
	n.stale = false
	now := n.waiting()
	if now.Equal(n.answers) {
		return false
	}
	n.answers, n.begin = now, true
	n.configure()
	return true
}

// waiting are those of servers that count to endpoints with rules by name.
func (n *nodeNames) waiting() *dataplane.Answers {
	h, ok := n.opts.Backend.(dataplane.Holder)
	refs := n.ix.ByName()
	if !ok || n.keeper == nil || len(refs) == 0 {
		return nil
	}
	if err := n.canHold(h); err != nil {
		n.failed = err
		return nil
	}
	out := &dataplane.Answers{Servers: n.servers()}
	for _, r := range refs {
		e, ok := n.ix.Endpoint(r)
		switch {
		case !ok:
		case r.Kind == model.KindHostEndpoint:
			out.Host = true
		default:
			out.Pods = append(out.Pods, e.Addrs...)
		}
	}
	slices.SortFunc(out.Pods, netip.Addr.Compare)
	out.Pods = slices.Compact(out.Pods)
	return out
}

// canHold tries once whether the kernel can have answers wait.
func (n *nodeNames) canHold(h dataplane.Holder) error {
	if n.tried {
		return n.cannotHold
	}
	n.tried = true
	_ = n.own(func() error {
		n.cannotHold = h.CanHold(context.Background())
		return nil
	})
	if n.cannotHold != nil {
		n.log.Error("cannot hold DNS answers: only names that the agent resolves itself are known", "error", n.cannotHold)
	}
	return n.cannotHold
}

// toSweep is the part of a change whose connections are to be examined: nobody's are to be
// cut for what answers have brought, or for what has expired and no connection uses.
func (n *nodeNames) toSweep(ch *dataplane.Change) *dataplane.Change {
	if !n.learning {
		return ch
	}
	less := *ch
	less.Sets = nil
	return &less
}

// err is why answers do not wait though rules speak of names.
func (n *nodeNames) err() error {
	if n.failed != nil || n.keeper == nil {
		return n.failed
	}
	return n.keeper.Err()
}
