package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// Action is what a rule does with the traffic that it matches.
type Action string

const (
	// Allow ends evaluation of this direction: the traffic passes.
	Allow Action = "Allow"
	// Deny ends evaluation of this direction: the traffic is dropped.
	Deny Action = "Deny"
	// Log records the traffic and goes on with the next rule.
	Log Action = "Log"
	// Pass skips the rest of this tier and goes on with the next tier, and from
	// the last tier to the endpoint's default.
	Pass Action = "Pass"
)

// PolicyType is a direction that a policy governs.
type PolicyType string

const (
	// PolicyTypeIngress governs traffic that enters the selected endpoints.
	PolicyTypeIngress PolicyType = "Ingress"
	// PolicyTypeEgress governs traffic that leaves the selected endpoints.
	PolicyTypeEgress PolicyType = "Egress"
)

// Enforcement says whether a policy takes part in verdicts.
type Enforcement string

const (
	// Enforced policies decide traffic.
	Enforced Enforcement = "Enforced"
	// Audit policies are evaluated beside the enforced ones, counted and
	// reported, and never applied.
	Audit Enforcement = "Audit"
)

// Rule matches traffic and says what to do with it. All criteria that are set
// must match, positive and negative ones together; a rule without criteria
// matches everything.
type Rule struct {
	// Metadata carries annotations to explain and to the comments of the ruleset.
	Metadata *RuleMetadata `json:"metadata,omitempty"`
	// Action is what to do with matching traffic.
	Action Action `json:"action"`
	// IPVersion restricts the rule to IPv4 (4) or IPv6 (6); unset means both.
	IPVersion *int `json:"ipVersion,omitempty"`
	// Protocol is TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or an IANA number 1–255;
	// unset means any. Ports need TCP, UDP or SCTP.
	Protocol *intstr.IntOrString `json:"protocol,omitempty"`
	// NotProtocol excludes one protocol.
	NotProtocol *intstr.IntOrString `json:"notProtocol,omitempty"`
	// ICMP restricts an ICMP or ICMPv6 rule to a type, or to a type and code.
	ICMP *ICMPFields `json:"icmp,omitempty"`
	// NotICMP excludes an ICMP type, or a type and code.
	NotICMP *ICMPFields `json:"notICMP,omitempty"`
	// Source is what the sender must match.
	Source EntityRule `json:"source,omitempty"`
	// Destination is what the receiver must match.
	Destination EntityRule `json:"destination,omitempty"`
	// HTTP is refused: application-layer matching is not built.
	HTTP *HTTPMatch `json:"http,omitempty"`
}

// RuleMetadata annotates one rule.
type RuleMetadata struct {
	// Annotations are free text for people and tools.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ICMPFields match the ICMP (or ICMPv6) type and code.
type ICMPFields struct {
	// Type is the ICMP type, 0–254; unset means any.
	Type *int `json:"type,omitempty"`
	// Code is the ICMP code, 0–255; needs Type; unset means any.
	Code *int `json:"code,omitempty"`
}

// HTTPMatch is the model API's application-layer match. Its presence is refused
// at admission and reported by lint, so that it is never ignored.
type HTTPMatch struct {
	// Methods are HTTP methods.
	Methods []string `json:"methods,omitempty"`
	// Paths are HTTP paths.
	Paths []HTTPPath `json:"paths,omitempty"`
}

// HTTPPath is an exact path or a prefix.
type HTTPPath struct {
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
}

// EntityRule is one side of a rule. All the fields that are set must match.
type EntityRule struct {
	// Nets are address blocks in CIDR form, of one IP family; the address must be in one of them.
	Nets []string `json:"nets,omitempty"`
	// NotNets are address blocks that the address must not be in.
	NotNets []string `json:"notNets,omitempty"`
	// Selector matches endpoints and network sets by label. In a namespaced
	// policy it means the policy's own namespace unless NamespaceSelector is set.
	Selector string `json:"selector,omitempty"`
	// NotSelector excludes what it matches; alone, it matches unknown addresses too.
	NotSelector string `json:"notSelector,omitempty"`
	// NamespaceSelector restricts Selector to the namespaces that it matches;
	// global() means objects in no namespace.
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	// Services matches the endpoints of one Kubernetes Service. It stands alone on
	// its side of the rule: in an egress rule's destination, addresses and ports;
	// in an ingress rule's source, addresses.
	Services *ServiceMatch `json:"services,omitempty"`
	// Ports are numbers, ranges "8080:8090", or names of ports; one must match.
	Ports []intstr.IntOrString `json:"ports,omitempty"`
	// NotPorts are ports that must not match.
	NotPorts []intstr.IntOrString `json:"notPorts,omitempty"`
	// ServiceAccounts restricts the side to pods that run as matching service accounts.
	ServiceAccounts *ServiceAccountMatch `json:"serviceAccounts,omitempty"`
	// Domains is refused: DNS-name matching is not built.
	Domains []string `json:"domains,omitempty"`
}

// ServiceMatch names one Kubernetes Service.
type ServiceMatch struct {
	// Name of the Service.
	Name string `json:"name,omitempty"`
	// Namespace of the Service; in a namespaced policy unset means the policy's own.
	Namespace string `json:"namespace,omitempty"`
}

// ServiceAccountMatch matches pods by the service account that they run as. If
// both fields are set, both must match.
type ServiceAccountMatch struct {
	// Names of service accounts, in the namespaces that the side's selectors leave in scope.
	Names []string `json:"names,omitempty"`
	// Selector matches the labels of service accounts.
	Selector string `json:"selector,omitempty"`
}
