package model

import (
	"cmp"
	"math"
	"net/netip"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/names"
)

// Object is any object that the index accepts: *Tier, *Policy, *Endpoint, *NetworkSet,
// *Namespace, *ServiceAccount, *ServiceSlice, *Node or *Settings.
type Object interface{ Key() Ref }

// NoOrder is the order of a tier or policy that sets none: after all that set one.
var NoOrder = math.Inf(1)

// NativeOrder is the order of native NetworkPolicies in tier default.
const NativeOrder = 1000

// Names of the built-in tiers.
const (
	TierKubeAdmin    = builtin.KubeAdmin
	TierDefault      = builtin.Default
	TierKubeBaseline = builtin.KubeBaseline
)

// Tier is an ordered group of policies.
type Tier struct {
	Name          string
	Order         float64 // NoOrder where unset
	DefaultAction Action  // Deny or Pass
	// Missing marks a tier that policies name and that does not exist: it is evaluated
	// after all others and denies by default.
	Missing bool
}

// Key implements Object.
func (t *Tier) Key() Ref { return Ref{Kind: KindTier, Name: t.Name} }

// BuiltinTiers returns the tiers that always exist, in order. An object with one of
// these names never changes its order or default action.
func BuiltinTiers() []*Tier {
	var out []*Tier
	for _, b := range builtin.Tiers() {
		t := &Tier{Name: b.Name, Order: b.Order, DefaultAction: Deny}
		if b.Pass {
			t.DefaultAction = Pass
		}
		out = append(out, t)
	}
	return out
}

// CompareTiers is the order in which tiers are evaluated: by order, missing tiers after
// all others, ties broken by name.
func CompareTiers(a, b *Tier) int {
	if a.Missing != b.Missing {
		if a.Missing {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name))
}

// Policy is a policy of any kind, converted.
type Policy struct {
	Ref   Ref
	Tier  string
	Order float64 // NoOrder where unset
	// Selector of the endpoints. The scope (namespace, namespace selector, service
	// accounts, kinds of endpoint) is already part of its tree. Never nil.
	Selector *selector.Selector
	// Ingress and Egress report which directions the policy governs.
	Ingress, Egress bool
	// IngressRules and EgressRules are in order. One rule of the source object may
	// become several consecutive rules with the same Index.
	IngressRules, EgressRules []Rule
	// Audit policies are evaluated along with the others, but never applied.
	Audit bool
	// Variants for host endpoints.
	DoNotTrack, PreDNAT, ApplyOnForward bool
	// Generation of the source object, for status.
	Generation int64
	// Created is the creation time of the source object, in seconds of Unix time; 0
	// means unknown.
	Created int64
	// Entries is the size of the source object as written (see Budgets).
	Entries int
	// Problems are the problems of the source object. The policy is in a form that
	// never widens access.
	Problems []Problem
}

// Key implements Object.
func (p *Policy) Key() Ref { return p.Ref }

// Governs reports whether the policy governs a direction.
func (p *Policy) Governs(dir Direction) bool {
	if dir == Ingress {
		return p.Ingress
	}
	return p.Egress
}

// Rules returns the rules of a direction.
func (p *Policy) Rules(dir Direction) []Rule {
	if dir == Ingress {
		return p.IngressRules
	}
	return p.EgressRules
}

// ComparePolicies is the order of policies within a tier: by order, ties broken by
// kind, namespace and name. Kind and name are those of the object: a policy does not
// move when another tier's policy of the same name makes its Ref longer.
func ComparePolicies(a, b *Policy) int {
	if c := cmp.Compare(a.Order, b.Order); c != 0 {
		return c
	}
	return cmp.Or(a.Ref.ofObject().Compare(b.Ref.ofObject()), a.Ref.Compare(b.Ref))
}

// Problem is one problem of an object.
type Problem struct {
	Object Ref
	// Field path as in spec.ingress[2].source.nets[0]; empty for the object as a whole.
	Field   string
	Message string
	// Warning problems do not change the object; others have made a rule or the policy
	// fail closed.
	Warning bool
}

// Error names the object, the field and the problem.
func (p Problem) Error() string {
	s := p.Object.String()
	if p.Field != "" {
		s += ": " + p.Field
	}
	return s + ": " + p.Message
}

// Rule is one rule of a policy. All criteria must match.
type Rule struct {
	// Index of the rule in the source object's list for this direction, from 0.
	Index int
	// Name of the rule, if the source kind gives rules names.
	Name   string
	Action Action
	// Annotations of the rule's metadata.
	Annotations map[string]string
	Match       Match
}

// Match is the criteria of a rule; the zero Match matches everything.
type Match struct {
	// Never marks a rule that could not be understood and must match nothing.
	Never bool
	// IPVersion is 4, 6, or 0 for both.
	IPVersion uint8
	// Protocol and NotProtocol are IANA numbers; 0 means unset. (IANA protocol 0,
	// HOPOPT, cannot be named.)
	Protocol, NotProtocol Protocol
	// ICMP and NotICMP; nil means unset.
	ICMP, NotICMP       *ICMP
	Source, Destination Peer
}

// ICMP matches an ICMP or ICMPv6 type and, unless Code is nil, code.
type ICMP struct {
	Type uint8
	Code *uint8
}

// Peer is one side of a match; the zero Peer matches everything.
type Peer struct {
	// Nets: the address must be in one of them. Nil means unset. All of one
	// family within a rule. Host bits are masked off.
	Nets []netip.Prefix
	// NotNets: the address must be in none of them.
	NotNets []netip.Prefix
	// Selector: the address must belong to an endpoint or network set that it
	// matches, scope included in its tree. Nil means unset.
	Selector *selector.Selector
	// NotSelector: the address must not belong to one that it matches.
	NotSelector *selector.Selector
	// Service: the address (and with ServicePorts also the protocol and port) must be
	// one of the Service's endpoints. Zero means unset.
	Service      ServiceRef
	ServicePorts bool
	// Domains: the address must be one that a DNS answer for one of them has brought.
	// Nil means unset. Sorted and unique. Only in the Destination of egress rules with
	// action Allow or Log, beside neither Nets, Selector nor Service.
	Domains []names.Pattern
	// Ports: one must match; nil means unset. NotPorts: none may match.
	Ports, NotPorts []Port
}

// ServiceRef names a Service.
type ServiceRef struct{ Namespace, Name string }

// Port is a range of port numbers, or the name of a port of the endpoint on
// that side of the rule.
type Port struct {
	First, Last uint16 // inclusive; zero where Name is set
	Name        string
}

// Labels that the core adds to endpoints and network sets. They take precedence over
// labels with the same key on the object. The spellings projectcalico.org/… are
// rewritten to these.
const (
	LabelNamespace      = "tierwall.io/namespace"
	LabelName           = "tierwall.io/name" // of namespaces and service accounts
	LabelOrchestrator   = "tierwall.io/orchestrator"
	LabelServiceAccount = "tierwall.io/serviceaccount"
	// OrchestratorKubernetes is the value of LabelOrchestrator on pods.
	OrchestratorKubernetes = "k8s"
)

// Keys that no object can have (":" is not allowed in a label key). Rewritten selectors
// use them to refer to more than the object's own labels.
const (
	// LabelKind is the kind of the owner of an address: see the values below.
	LabelKind = ":kind"
	// PrefixNamespace before a key means a label of the object's namespace.
	PrefixNamespace = "ns:"
	// PrefixServiceAccount before a key means a label of the pod's service account.
	PrefixServiceAccount = "sa:"
)

// Values of LabelKind.
const (
	OwnerPod          = "pod"
	OwnerHostEndpoint = "hostendpoint"
	OwnerNetworkSet   = "networkset"
	// OwnerNamespacedSet is a NetworkSet of a namespace, unless
	// Settings.NamespacedSetsEverywhere makes it an OwnerNetworkSet. Selectors of
	// global policies without a namespaceSelector exclude it.
	OwnerNamespacedSet = "netset"
	OwnerNode          = "node"
	OwnerGhost         = "ghost" // no selector is evaluated for it
)

// Matches reports whether an ICMP type and code match.
func (i *ICMP) Matches(typ, code uint8) bool {
	return i.Type == typ && (i.Code == nil || *i.Code == code)
}
