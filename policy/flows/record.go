package flows

import (
	"net/netip"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// MaxAddresses is the largest number of sample addresses of an End.
const MaxAddresses = 8

// Record sums the connections of one window that have the same ends, service, protocol
// and port, and that the same rules decided.
type Record struct {
	// Start and End bound the window, [Start, End), in UTC.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`

	Source      End `json:"source"`
	Destination End `json:"destination"`
	// Service is namespace/name of the Service whose address the client connected to;
	// empty if it connected to the destination's own address.
	Service string `json:"service,omitempty"`

	Protocol model.Protocol `json:"protocol"`
	// Port is the destination's port, after translation of a Service's address; 0 for
	// protocols without ports.
	Port uint16 `json:"port,omitempty"`
	// ICMPType and ICMPCode of ICMP and ICMPv6; zero for others.
	ICMPType uint8 `json:"icmpType,omitempty"`
	ICMPCode uint8 `json:"icmpCode,omitempty"`

	// Decided is what policy answers for these connections. Generation is that of the
	// policies by which it was evaluated.
	Decided Decided `json:"decided"`
	// Before is set if policies changed within the window in such a way that it cannot be
	// said for each connection by which of the two it was decided: Before is the earlier
	// answer, Decided the later. Its Action is none and its verdicts are nil if nobody
	// asked about this flow before the change.
	Before *Decided `json:"before,omitempty"`

	Connections Connections `json:"connections"`
	// Sent is from the source to the destination, Received the reverse. They are nil if
	// the kernel does not count bytes (net.netfilter.nf_conntrack_acct is 0).
	Sent     *Volume `json:"sent,omitempty"`
	Received *Volume `json:"received,omitempty"`
	// Denied counts the first packets that policy denied, as the rules' counters have
	// it; who sent them is a sample.
	Denied uint64 `json:"denied,omitempty"`

	// Reporters are the nodes whose agents have seen the flow, sorted: those of the sources
	// and of the destinations.
	Reporters []string `json:"reporters,omitempty"`
	// Request is set for a flow that is an HTTP request.
	Request *Request `json:"request,omitempty"`
	// Other is set in a record that sums what was past the limit of keys: its ends are
	// empty then.
	Other bool `json:"other,omitempty"`
}

// EndKind is what an end of a flow is.
type EndKind string

// The kinds of ends.
const (
	// EndPod is a pod, or the pods of one workload.
	EndPod EndKind = "Pod"
	// EndHost is a node itself, or one of its host endpoints.
	EndHost EndKind = "Host"
	// EndSet is an address in a network set that a rule names.
	EndSet EndKind = "NetworkSet"
	// EndDomain is an address that was learnt for a name that a rule names.
	EndDomain EndKind = "Domain"
	// EndOutside is any other address.
	EndOutside EndKind = "Outside"
)

// End is one end of a flow.
type End struct {
	Kind EndKind `json:"kind,omitempty"`
	// Namespace of a pod or of a namespaced network set.
	Namespace string `json:"namespace,omitempty"`
	// Workload owns the pod, as Deployment/web; a pod of no workload is Pod/name. For
	// EndHost it is Node/name.
	Workload string `json:"workload,omitempty"`
	// Node on which a pod runs; empty if the pods of the record are on several.
	Node string `json:"node,omitempty"`
	// Set is the network set's kind and name, as GlobalNetworkSet/office.
	Set string `json:"set,omitempty"`
	// Domain is the name or pattern of the rule, as *.example.com.
	Domain string `json:"domain,omitempty"`
	// Addresses are at most MaxAddresses samples, sorted.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// Decided is what policy answers for a flow: the same as explain for its first packet.
type Decided struct {
	// Generation counts the changes of policy in the agent that evaluated the flow.
	Generation uint64 `json:"generation,omitempty"`
	// Action is Allow or Deny: what happened.
	Action model.Action `json:"action"`
	// Egress and Ingress decided in their direction (model.Decision.Deciding); their
	// Endpoint is zero. Nil: no policy of that direction was evaluated, or not by the
	// node that reported. What audited policies would have decided is in Verdict.Audit.
	Egress  *model.Verdict `json:"egress,omitempty"`
	Ingress *model.Verdict `json:"ingress,omitempty"`
}

// Connections counts connections.
type Connections struct {
	// New were opened within the window.
	New uint64 `json:"new"`
	// Closed ended within it.
	Closed uint64 `json:"closed"`
	// Live were open at its end.
	Live uint64 `json:"live"`
}

// Volume is an amount of traffic.
type Volume struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Request is an HTTP request, as far as a record has it.
type Request struct {
	Method string `json:"method"`
	// Path is the path of the rule that decided, not that of the request.
	Path   string `json:"path"`
	Status int    `json:"status,omitempty"`
}
