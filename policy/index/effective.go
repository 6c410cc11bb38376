package index

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// Effective is the merged, ordered policy of every endpoint of one class: endpoints
// that the same policies select share one Effective, by pointer. Immutable.
type Effective struct {
	// ID is unique among the classes of one Index and increases: a class that changes
	// gets a new one.
	ID uint64
	// Host is true for host endpoints.
	Host bool
	// DefaultAction after the last tier: Allow for pods, Deny for ghosts; for host
	// endpoints that of the object, and only for local traffic.
	DefaultAction model.Action
	// ByName: some rule matches addresses by DNS name, of an audited policy too.
	ByName bool
	// Ingress and Egress are the normal policies.
	Ingress, Egress Chain
	// The other chains are for host endpoints only.
	ForwardIngress, ForwardEgress     Chain // applyOnForward policies, for forwarded traffic
	UntrackedIngress, UntrackedEgress Chain // doNotTrack policies
	PreDNAT                           Chain // preDNAT policies; ingress
	// SelfIngress and SelfEgress are the ClusterNetworkPolicies that govern what a pod
	// sends to itself through a Service. Other policies let it pass, and the Baseline
	// has no effect after a policy that is enforced in another tier.
	SelfIngress, SelfEgress Chain
}

// byName reports whether an endpoint's effective policy, which may be nil, asks for names.
func (e *Effective) byName() bool { return e != nil && e.ByName }

// Chain is the tiers with at least one policy that selects the endpoint in the
// chain's direction, in order.
type Chain []TierChain

// TierChain is one tier's part of a chain.
type TierChain struct {
	Tier *model.Tier
	// Policies in order, including audited ones.
	Policies []*Policy
	// Enforced is true if at least one of them is enforced. A tier with only audited
	// policies has no default action.
	Enforced bool
}

// Policy is a policy with its peers resolved to sets. Immutable; a changed
// policy is a new value.
type Policy struct {
	*model.Policy
	// ResolvedIngress and ResolvedEgress are IngressRules and EgressRules, in their order.
	ResolvedIngress, ResolvedEgress []Rule
	// ByName: some rule matches addresses by DNS name, that of a network set too.
	ByName bool
}

// Resolved returns the rules of a direction.
func (p *Policy) Resolved(dir model.Direction) []Rule {
	if dir == model.Ingress {
		return p.ResolvedIngress
	}
	return p.ResolvedEgress
}

// Rule is a rule with its peers resolved to sets.
type Rule struct {
	*model.Rule
	Source, Destination PeerSets
}

// PeerSets are the sets that one side of a rule refers to.
type PeerSets struct {
	// Selector and NotSelector are nil if the rule has none.
	Selector, NotSelector *Set
	// Service is nil if the rule names none.
	Service *Set
	// Domains is nil where the rule names none. Its members are what DNS answers have
	// brought, as ApplyNames was given them.
	Domains *Set
	// NamedPorts and NotNamedPorts are parallel to the named entries of
	// Ports and NotPorts, in their order.
	NamedPorts, NotNamedPorts []*Set
}

// SetKind is the kind of a set's members.
type SetKind uint8

const (
	// SetAddrs contains addresses and address blocks.
	SetAddrs SetKind = iota
	// SetAddrPorts contains triples of address, protocol and port.
	SetAddrPorts
)

// Member is an element of a set. Protocol and Port are zero in a SetAddrs; in a
// SetAddrPorts, Port 0 means every port of the protocol.
type Member struct {
	Prefix   netip.Prefix
	Protocol model.Protocol
	Port     uint16
}

// Delta is what has changed since the previous Flush. Each list is sorted.
type Delta struct {
	// Sets that are new, changed, or gone. New sets include all their members.
	Sets []SetDelta
	// Added are the new effective policies; Removed are those that no endpoint has any
	// more.
	Added, Removed []*Effective
	// Endpoints that are new, changed (policy or addresses) or gone.
	Endpoints []EndpointDelta
	// Settings is true if the Settings changed. Nodes names the nodes whose object or
	// addresses changed, and local ones whose Links changed.
	Settings bool
	Nodes    []string
	// NodeObjects are those of Nodes whose object changed, and not only what the node's
	// kernel reports.
	NodeObjects []string
	// ByName is true if a local endpoint with rules by name is new or gone, or has other
	// addresses: Index.ByName lists them.
	ByName bool
	// PatternsAdded are names that rules of local endpoints speak of from now on,
	// PatternsRemoved those that none does any more. Sorted.
	PatternsAdded, PatternsRemoved []names.Pattern
}

// SetDelta is the change of one set.
type SetDelta struct {
	Set            *Set
	New, Gone      bool
	Added, Removed []Member // sorted; Removed is empty for new and gone sets, Added for gone ones
}

// EndpointDelta is the change of one local endpoint. Endpoint and Effective are
// nil if it is gone.
type EndpointDelta struct {
	Ref       model.Ref
	Endpoint  *LocalEndpoint
	Effective *Effective
}

// LocalEndpoint is a local endpoint in the form that the data plane needs. Immutable.
type LocalEndpoint struct {
	Ref   model.Ref
	Node  string
	Addrs []netip.Addr // sorted
	Host  *model.HostEndpoint
}

// StageChain is one of the chains of an effective policy, with what applies after it.
type StageChain struct {
	Stage     model.Stage
	Direction model.Direction
	Chain     Chain
	// EndOfTier is true if the tiers' default actions apply.
	EndOfTier bool
	// Default is the action if no tier decides; NoAction means that a later stage
	// decides.
	Default model.Action
}

// Stages returns the chains in the order in which packets meet them, ingress before
// egress. The normal ones are always included, the others if they have policies.
func (e *Effective) Stages() []StageChain {
	own := model.StageWorkload
	stages := []model.Stage{own}
	if e.Host {
		own = model.StageHost
		stages = []model.Stage{model.StageUntracked, model.StagePreDNAT, model.StageForward, own}
	}
	var out []StageChain
	for _, dir := range []model.Direction{model.Ingress, model.Egress} {
		for _, s := range stages {
			if c := e.Stage(s, dir); len(c.Chain) > 0 || s == own {
				out = append(out, c)
			}
		}
	}
	return out
}

// SelfStages returns the chains that govern what a pod sends to itself through a
// Service, ingress first; most pods have none.
func (e *Effective) SelfStages() []StageChain {
	var out []StageChain
	for _, c := range []StageChain{
		{model.StageSelf, model.Ingress, e.SelfIngress, true, model.Allow},
		{model.StageSelf, model.Egress, e.SelfEgress, true, model.Allow},
	} {
		if len(c.Chain) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// Stage returns the chain of a stage, which may be empty.
func (e *Effective) Stage(s model.Stage, dir model.Direction) StageChain {
	pick := func(in, out Chain) Chain {
		if dir == model.Ingress {
			return in
		}
		return out
	}
	switch s {
	case model.StageUntracked:
		return StageChain{s, dir, pick(e.UntrackedIngress, e.UntrackedEgress), false, model.NoAction}
	case model.StagePreDNAT:
		return StageChain{s, dir, pick(e.PreDNAT, nil), false, model.NoAction}
	case model.StageForward:
		return StageChain{s, dir, pick(e.ForwardIngress, e.ForwardEgress), true, model.Allow}
	}
	return StageChain{s, dir, pick(e.Ingress, e.Egress), true, e.DefaultAction}
}

// Sets returns the sets that a rule refers to, source before destination.
func (r *Rule) Sets() []*Set {
	var out []*Set
	for _, side := range []*PeerSets{&r.Source, &r.Destination} {
		for _, s := range []*Set{side.Selector, side.NotSelector, side.Service, side.Domains} {
			if s != nil {
				out = append(out, s)
			}
		}
		out = append(out, side.NamedPorts...)
		out = append(out, side.NotNamedPorts...)
	}
	return out
}
