package model

import (
	"math/bits"
	"net/netip"

	"github.com/tierwall/tierwall/policy/names"
)

// Endpoint is a pod or a host endpoint: an object that policies select and that rules'
// selectors match. It can also be the ghost of a pod, which has addresses and no
// labels: no selector matches it, and it can neither send nor receive.
type Endpoint struct {
	// Ref is Pod/namespace/name, HostEndpoint/name or a GhostRef.
	Ref Ref
	// Node that the endpoint is on; empty if unknown.
	Node string
	// Labels of the object itself, without those that the core adds.
	Labels map[string]string
	// ServiceAccount of a pod.
	ServiceAccount string
	// Addrs are unique; IPv4-mapped IPv6 addresses are unmapped.
	Addrs []netip.Addr
	// Ports with names.
	Ports []NamedPort
	// Host is set on host endpoints only.
	Host *HostEndpoint
	// Denied has a pod send and get nothing, whatever policies say: no policy selects it.
	// As a peer it is a pod like others.
	Denied bool
}

// Key implements Object.
func (e *Endpoint) Key() Ref { return e.Ref }

// NamedPort is a named port of an endpoint.
type NamedPort struct {
	Name     string
	Protocol Protocol
	Port     uint16
}

// HostEndpoint holds the fields of host endpoints.
type HostEndpoint struct {
	// Interface name, "*" for all, or empty: chosen by address.
	Interface string
	// DefaultAction for local traffic that no tier decides: Allow or Deny.
	DefaultAction Action
}

// NetworkSet gives addresses labels.
type NetworkSet struct {
	// Ref is GlobalNetworkSet/name or NetworkSet/namespace/name.
	Ref    Ref
	Labels map[string]string
	// Nets are masked and may overlap.
	Nets []netip.Prefix
	// Domains are names whose addresses are part of the set too, but only where it is
	// matched by the selector of the destination of an egress rule with action Allow or
	// Log. Sorted and unique.
	Domains []names.Pattern
}

// Key implements Object.
func (s *NetworkSet) Key() Ref { return s.Ref }

// Namespace is a namespace's labels.
type Namespace struct {
	Name   string
	Labels map[string]string
}

// Key implements Object.
func (n *Namespace) Key() Ref { return Ref{Kind: KindNamespace, Name: n.Name} }

// ServiceAccount is a service account's labels.
type ServiceAccount struct {
	Namespace, Name string
	Labels          map[string]string
}

// Key implements Object.
func (s *ServiceAccount) Key() Ref {
	return Ref{Kind: KindServiceAccount, Namespace: s.Namespace, Name: s.Name}
}

// ServiceSlice is one EndpointSlice of a Service.
type ServiceSlice struct {
	// Ref is EndpointSlice/namespace/name.
	Ref Ref
	// Service that the slice belongs to, in the same namespace.
	Service string
	Addrs   []netip.Addr
	// Ports with their protocols. Port 0 means all ports of the protocol.
	Ports []ServicePort
}

// Key implements Object.
func (s *ServiceSlice) Key() Ref { return s.Ref }

// ServicePort is a port of a Service's endpoints.
type ServicePort struct {
	Protocol Protocol
	Port     uint16
}

// Node is a node's addresses.
type Node struct {
	Name     string
	Labels   map[string]string
	Addrs    []netip.Addr
	PodCIDRs []netip.Prefix
}

// Key implements Object.
func (n *Node) Key() Ref { return Ref{Kind: KindNode, Name: n.Name} }

// Settings are the fields of Tierwall/default that affect verdicts, and how they are
// logged.
type Settings struct {
	// FailsafeInbound are open ports of hosts, FailsafeOutbound open ports of remote peers.
	FailsafeInbound, FailsafeOutbound []FailsafePort
	// EndpointToHost decides traffic from a pod to its own node after the pod's egress policy.
	EndpointToHost EndpointToHost
	// UnknownWorkloads decides about addresses in pod CIDRs that no endpoint has: Allow
	// or Deny.
	UnknownWorkloads Action
	// AutoHostEndpoints: there is one host endpoint "*" for each node.
	AutoHostEndpoints bool
	// NamespacedSetsEverywhere: NetworkSets of namespaces also count in rules of global
	// policies without a namespaceSelector.
	NamespacedSetsEverywhere bool
	// Guards drop packets that no policy names.
	Guards Guards
	// Budgets bound the cost of the objects of namespaces. The code that feeds an Index
	// applies them: a change of them alone is not part of a Delta.
	Budgets Budgets
	// Marks are the bits of the packet mark that belong to Tierwall; 0 means
	// DefaultMarks. There are at least two: the lowest is Accepted, the next one Early.
	Marks uint32
	// DNS is how the addresses of names are learnt.
	DNS DNS
	// Logging of Log rules. It affects no verdict: a change of it alone is not reported
	// as a change of the Settings.
	Logging Logging
	// Flows is how connections are recorded. Like Logging, it affects no verdict.
	Flows Flows
}

// DefaultMarks are two bits that neither kube-proxy (0xc000) nor the usual
// network plugins use: Cilium (0x0f00, and identities above 0x10000), Tailscale
// (0xff0000), Weave, AWS.
const DefaultMarks uint32 = 0x30000000

// KubeProxyMarks are the bits with which kube-proxy marks packets to masquerade
// (0x4000) and to drop (0x8000). Marks must not contain them.
const KubeProxyMarks uint32 = 0xc000

// MarkBits returns the bits Accepted and Early.
func (s *Settings) MarkBits() (accepted, early uint32) {
	m := DefaultMarks
	if s != nil && bits.OnesCount32(s.Marks) >= 2 {
		m = s.Marks
	}
	accepted = m & -m
	m &^= accepted
	return accepted, m & -m
}

// Logging configures how agents log the packets that Log rules match.
type Logging struct {
	// RatePerRule is the number of lines per second and rule; 0 means none.
	RatePerRule int
	// RatePerNode is the number of lines per second of all rules together, at least 1.
	RatePerNode int
	// Text lines instead of JSON.
	Text bool
}

// DefaultRatePerRule is the default of Logging.RatePerRule.
const DefaultRatePerRule = 10

// DefaultRatePerNode is the default of Logging.RatePerNode.
const DefaultRatePerNode = 1000

// Key implements Object.
func (s *Settings) Key() Ref { return Ref{Kind: KindTierwall, Name: "default"} }

// Failsafe returns the ports of hosts that policies cannot close in a direction.
func (s *Settings) Failsafe(d Direction) []FailsafePort {
	if d == Egress {
		return s.FailsafeOutbound
	}
	return s.FailsafeInbound
}

// FailsafePort is a port that policies cannot close.
type FailsafePort struct {
	Protocol Protocol
	Port     uint16
	Net      netip.Prefix // of the peer; the zero Prefix means any
}

// EndpointToHost decides traffic from a pod to its own node.
type EndpointToHost uint8

// The values of EndpointToHost.
const (
	ToHostAccept EndpointToHost = iota
	ToHostDrop
	ToHostReturn // leave it to the host endpoint's policy
)

// DefaultSettings are those of a cluster without a Tierwall object.
func DefaultSettings() *Settings {
	in := []FailsafePort{{Protocol: UDP, Port: 68}, {Protocol: UDP, Port: 546}}
	for _, p := range []uint16{22, 179, 2379, 2380, 5473, 6443, 6666, 6667, 10250} {
		in = append(in, FailsafePort{Protocol: TCP, Port: p})
	}
	out := []FailsafePort{{Protocol: UDP, Port: 53}, {Protocol: UDP, Port: 67}, {Protocol: UDP, Port: 547}}
	for _, p := range []uint16{179, 2379, 2380, 5473, 6443, 6666, 6667} {
		out = append(out, FailsafePort{Protocol: TCP, Port: p})
	}
	return &Settings{FailsafeInbound: in, FailsafeOutbound: out, UnknownWorkloads: Deny, Budgets: Budgets{Namespace: DefaultNamespaceBudget, Node: DefaultNodeBudget}, DNS: DefaultDNS(),
		Logging: Logging{RatePerRule: DefaultRatePerRule, RatePerNode: DefaultRatePerNode}, Flows: DefaultFlows()}
}
