package dataplane

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Backend programs a kernel. Implementations are not safe for concurrent use.
type Backend interface {
	// Sync makes the kernel hold what the State says, from whatever it holds now,
	// in one transaction, and changes nothing that is right already. It is
	// called at start, after an error of Apply, and after foreign changes.
	Sync(ctx context.Context, s *State) error
	// Apply makes one change on top of what the last Sync or Apply left, in one
	// transaction: packets see all of it or nothing. State is what holds after
	// it. After an error the kernel holds what it held before.
	Apply(ctx context.Context, ch *Change, s *State) error
	// Counters returns what the kernel has counted so far, by rule, and by guard (Origin.Guard).
	Counters(ctx context.Context) (map[Origin]Count, error)
	// Cleanup removes everything of Tierwall's from the kernel.
	Cleanup(ctx context.Context) error
}

// CounterReader is a Backend whose counters can be read while it does something else.
type CounterReader interface {
	Backend
	// ReadCounters is Counters for any goroutine, at any time, and in whatever network
	// namespace. Rules that have come or gone since the reading before may be missing.
	// One reading is at work at a time; others wait for it.
	ReadCounters(ctx context.Context) (map[Origin]Count, error)
}

// Preparer is a Backend that can do work ahead of a Change: it puts into the kernel
// what endpoints are to have, and nothing leads there, in small transactions between
// which others can be made.
type Preparer interface {
	Backend
	// Prepare does some of what waits: what Changes have left of what they replaced, and
	// what these endpoints need, which have a Policy by the Compiler and are to be given
	// it by a later Change. They are of one Policy; none ends the preparation of those
	// before. done reports whether nothing is left to do; else it is to be called again,
	// with the State of then. The Change that gives the endpoints what has been prepared
	// is small. A Sync forgets what was prepared. After an error the kernel holds what
	// packets see as before, and the next call has to be a Sync.
	Prepare(ctx context.Context, ends []Endpoint, s *State) (done bool, err error)
}

// Ahead returns endpoints as they are to be with an effective policy that a Delta has
// added and given to none yet; without those that are not known.
func (c *Compiler) Ahead(e *index.Effective, refs []model.Ref) (out []Endpoint) {
	compiled := c.policies[e]
	if compiled == nil {
		return nil
	}
	for _, r := range refs {
		if end, ok := c.ends[r]; ok {
			out = append(out, Endpoint{end.LocalEndpoint, compiled})
		}
	}
	return out
}

// Count is packets and bytes of first packets of connections (and of all
// packets of untracked ones).
type Count struct{ Packets, Bytes uint64 }

// State is all that a kernel should hold.
type State struct {
	// Node is what the kernel's own node is called; empty on a host without a cluster.
	Node     string
	Settings *model.Settings
	// NodeAddrs are the node's own addresses, those of its object and of its Links,
	// PodCIDRs its blocks of pod addresses.
	NodeAddrs []netip.Addr
	PodCIDRs  []netip.Prefix
	// Foreign are addresses within PodCIDRs that belong to pods of other nodes, as
	// they do where addresses are not given out by these blocks, or to these nodes
	// themselves. Sorted.
	Foreign []netip.Addr
	// ForeignNets are blocks within PodCIDRs that the node reaches through its tunnels:
	// addresses in them are other nodes' or their pods'. Sorted as routes are.
	ForeignNets []netip.Prefix
	// ClusterAddrs are the addresses of all nodes of the cluster. Sorted.
	ClusterAddrs []netip.Addr
	// ClusterBlocks are the blocks of pod addresses of all nodes. Sorted.
	ClusterBlocks []netip.Prefix
	// Links are the node's interfaces; nil where they are not known.
	Links *model.Links
	// Answers are the DNS answers that wait; nil: none does.
	Answers *Answers
	// SampleDenied has a sample of the packets that rules deny handed to NFLOG group
	// DeniedGroup: DeniedRate a second, in bursts of DeniedBurst.
	SampleDenied bool
	// Compiled holds sets, programs, tables and endpoints.
	Compiled *Compiler
}

// The NFLOG group of packets that rules deny, and how many of them a second it is handed:
// by nftables together, by iptables of each rule. A policy's Log rules have a group of their own.
const (
	DeniedGroup = 19
	DeniedRate  = 100
	DeniedBurst = 200
	// DeniedPrefix is what these packets are logged with.
	DeniedPrefix = "tierwall denied"
)

// NewState returns the State of a node, by the index that the Compiler is fed
// from. A node that the index does not know has no addresses.
func NewState(ix *index.Index, node string, c *Compiler) *State {
	s := &State{
		Node: node, Settings: ix.Settings(), Links: ix.Links(node),
		ClusterAddrs: ix.ClusterAddrs(), ClusterBlocks: ix.ClusterBlocks(), Compiled: c,
	}
	if n := ix.Node(node); n != nil {
		s.NodeAddrs, s.PodCIDRs = n.Addrs, n.PodCIDRs
	}
	return s
}

// Sets returns the sets that programs ask for (Program.Sets), by ID.
func (c *Compiler) Sets() []*Set {
	seen := map[string]*Set{}
	for _, r := range c.programs {
		for _, s := range r.program.sets {
			seen[s.ID] = s
		}
	}
	return slices.SortedFunc(maps.Values(seen), func(a, b *Set) int { return cmp.Compare(a.ID, b.ID) })
}

// Sets returns the sets that a program's rules ask for one by one: those of its
// lists of rules, and those that rests of its tables may ask for, by ID. Sets that
// only make up a table are not among them: no backend needs them.
func (p *Program) Sets() []*Set { return slices.Clone(p.sets) }

func (p *Program) findSets() {
	for i := range p.Segments {
		for j := range p.Segments[i].Rules {
			for _, c := range p.Segments[i].Rules[j].Conds {
				if c.Set != nil {
					p.sets = append(p.sets, c.Set)
				}
			}
		}
		if t := p.Segments[i].Table; t != nil {
			p.sets = append(p.sets, t.others...)
		}
	}
	slices.SortFunc(p.sets, func(a, b *Set) int { return cmp.Compare(a.ID, b.ID) })
	p.sets = slices.Clip(slices.Compact(p.sets))
}

// Programs returns all programs, by ID.
func (c *Compiler) Programs() []*Program {
	out := make([]*Program, 0, len(c.programs))
	for _, r := range c.programs {
		out = append(out, r.program)
	}
	slices.SortFunc(out, func(a, b *Program) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Table returns what a table holds, or nil.
func (c *Compiler) Table(id string) *TableState {
	if r := c.tables[id]; r != nil {
		return r.state
	}
	return nil
}

// Endpoints returns the local endpoints, sorted.
func (c *Compiler) Endpoints() []Endpoint {
	return slices.SortedFunc(maps.Values(c.ends), func(a, b Endpoint) int { return a.Ref.Compare(b.Ref) })
}
