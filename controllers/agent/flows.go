package agent

import (
	"io"
	"net/http"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/agent/flows"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/dataplane/nflog"
	policyflows "github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// FlowsOptions is what recording connections needs; see flows.Options.
type FlowsOptions struct {
	// Open has the kernel report connections, in the agent's network namespace.
	Open func() (events.Reader, error)
	// OpenDenied has the kernel hand over NFLOG group dataplane.DeniedGroup; nil: what is
	// denied is not recorded.
	OpenDenied func() (nflog.Reader, error)
	// Counts reports whether the kernel counts packets and bytes; nil: it is not known.
	Counts func() (bool, error)
	// Lines is where records go as JSON lines, if the settings say so; nil: nowhere.
	Lines io.Writer
	// Always has connections recorded, and AlwaysLines their records written, whatever the
	// settings say.
	Always, AlwaysLines bool
	// Clock; nil: the agent's.
	Clock clock.Clock
}

// newFlows returns nil without options.
func newFlows(n *node, denials func() (map[policyflows.RuleKey]uint64, error)) (*flows.Recorder, error) {
	o := n.opts.Flows
	if o == nil {
		return nil, nil
	}
	c := o.Clock
	if c == nil {
		c = n.clock
	}
	if _, beside := n.opts.Backend.(dataplane.CounterReader); !beside {
		denials = nil // recording must not wait for transactions
	}
	return flows.New(flows.Options{
		OpenDenied: o.OpenDenied, Denials: denials,
		Node: n.opts.Node, Index: n.ix, Open: o.Open, Counts: o.Counts, Lines: o.Lines, Always: o.Always, AlwaysLines: o.AlwaysLines, Clock: c, Log: n.log,
	})
}

// denials are how many packets each rule has denied so far.
func (c *counterReader) denials() (map[policyflows.RuleKey]uint64, error) {
	counts, err := c.read()
	if err != nil {
		return nil, err
	}
	out := map[policyflows.RuleKey]uint64{}
	for o, n := range counts {
		if o.Action == model.Deny && !o.Audit {
			out[policyflows.RuleKey{Policy: o.Policy, Tier: o.Tier, Direction: o.Direction, Rule: o.Rule}] += n.Packets
		}
	}
	return out, nil
}

// bearsOnAll reports whether an object of a kind may change what is decided about others
// than itself and its peers: pods come and go all the time.
func bearsOnAll(k model.Kind) bool {
	switch k {
	case model.KindPod, model.KindPodGhost, model.KindEndpointSlice, model.KindServiceAccount:
		return false
	}
	return true
}

// Flows serves the records of connections, /flows/v1; nil: without Options.Flows. It asks
// nobody who may read.
func (a *Agent) Flows() http.Handler {
	if a.flows == nil {
		return nil
	}
	return a.flows.Handler()
}
