package agent

import (
	"log/slog"
	"net/netip"
	"sync"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/agent/flows"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// node is what the parts of an agent share: its options, its metrics, and what it knows
// of the cluster. The parts are
//
//	queue         changes that the source has delivered (queue.go, backlog.go, round.go, pace.go)
//	intake        changes → forms of objects in the index (intake.go, standin.go, budgets.go, …)
//	kernelWriter  index → kernel (writer.go, isolate.go, late.go)
//	sweeper       established connections (sweeper.go, sweep.go, cut.go)
//	linkFollower  the node's own addresses, routes and ports → index (links.go)
//	keeper        what the node enforces after its next boot (kept.go, boot.go)
//	packetLog     lines of Log rules (packetlog.go, logwindow.go, logline.go)
//	flows         records of connections (flows.go, package flows)
//	ledger, nodeGuards, metrics, health, progress   what others learn of the agent
//
// Run's goroutine runs all of them, where nothing else is said. It alone changes the
// index, under ixMu, and reads it without the lock; other goroutines read it by the
// methods that lock: nameOf and Agent.Holder.
type node struct {
	opts    Options
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics
	health  *health
	logs    *packetLog // nil: without Options.Logs
	// flows learns of each change of the index: Begin before it, Settle when the kernel has it;
	// nil: without Options.Flows.
	flows *flows.Recorder

	ixMu sync.RWMutex
	ix   *index.Index
	// comp has the index's effective policies in terms of the data plane.
	comp *dataplane.Compiler
	// synced: the source has delivered all that there is once. Before that nothing is
	// written to the kernel.
	synced bool
	// beside are goroutines that read or write something slow beside Run. It waits for
	// them when it ends.
	beside sync.WaitGroup
}

// local reports whether a node is this one; without a name of its own, all are.
func (n *node) local(name string) bool { return n.opts.Node == "" || name == n.opts.Node }

// put replaces or, with nil, removes an object of the index.
func (n *node) put(r model.Ref, o model.Object) {
	n.flows.Begin(bearsOnAll(r.Kind))
	n.ixMu.Lock()
	defer n.ixMu.Unlock()
	if o == nil {
		n.ix.Delete(r)
		if n.logs != nil {
			n.logs.forget(r)
		}
		return
	}
	n.ix.Upsert(o)
}

// flushIndex brings the effective policies up to date with the objects, as far as the
// part asks for.
func (n *node) flushIndex(p *index.Part) *index.Delta {
	n.flows.Begin(false)
	n.ixMu.Lock()
	defer n.ixMu.Unlock()
	return n.ix.FlushPart(*p)
}

// own runs a write to the kernel so that the Watcher does not take it for another
// program's.
func (n *node) own(write func() error) error {
	if n.opts.Watcher == nil {
		return write()
	}
	return n.opts.Watcher.Own(write)
}

// nameOf returns the name of the pod, node or host endpoint that has an address; "":
// none that is known has it. Safe for concurrent use.
func (n *node) nameOf(addr netip.Addr) string {
	n.ixMu.RLock()
	defer n.ixMu.RUnlock()
	owner := n.ix.Owner(addr)
	if n := n.ix.NodeOf(addr); n != nil && owner.Kind != model.KindPod {
		return n.Key().String()
	}
	if owner == (model.Ref{}) {
		return ""
	}
	return owner.String()
}
