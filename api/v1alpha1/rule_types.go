package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// Action is what a rule does with the traffic that it matches.
type Action string

const (
	// Allow ends evaluation of this direction: the traffic passes.
	Allow Action = "Allow"
	// Deny ends evaluation of this direction: the traffic is dropped.
	Deny Action = "Deny"
	// Log records the traffic and continues with the next rule.
	Log Action = "Log"
	// Pass skips the rest of this tier and continues with the next tier, or with
	// the endpoint's default after the last tier.
	Pass Action = "Pass"
)

// PolicyType is a direction that a policy governs.
// +kubebuilder:validation:Enum=Ingress;Egress
type PolicyType string

const (
	// PolicyTypeIngress governs traffic that enters the selected endpoints.
	PolicyTypeIngress PolicyType = "Ingress"
	// PolicyTypeEgress governs traffic that leaves the selected endpoints.
	PolicyTypeEgress PolicyType = "Egress"
)

// Enforcement controls whether a policy takes part in verdicts.
// +kubebuilder:validation:Enum=Enforced;Audit
type Enforcement string

const (
	// Enforced policies decide traffic.
	Enforced Enforcement = "Enforced"
	// Audit policies are evaluated along with the enforced ones, counted and
	// reported, but never applied.
	Audit Enforcement = "Audit"
)

// Rule matches traffic and decides what to do with it. All criteria that are set
// must match, both positive and negative; a rule without criteria matches
// everything.
//
// The families of both sides are compared by their first blocks, because the API
// server's cost limit for validation rules does not allow checking every block of
// notNets as well: a pattern checks their form, and the webhook checks for mixed
// families within one list.
//
// +kubebuilder:validation:XValidation:rule="!has(self.http)",message="http is not supported: Tierwall matches no application-layer fields, and a rule that ignored them would match too much; remove http or use a rule on ports"
// +kubebuilder:validation:XValidation:rule="(self.?source.?ports.orValue([]).size() == 0 && self.?source.?notPorts.orValue([]).size() == 0 && self.?destination.?ports.orValue([]).size() == 0 && self.?destination.?notPorts.orValue([]).size() == 0) || (has(self.protocol) ? (type(self.protocol) in [int] ? self.protocol in [6, 17, 132, 136] : self.protocol in ['TCP', 'UDP', 'SCTP', 'UDPLite', 'tcp', 'udp', 'sctp', 'udplite']) : (self.?source.?ports.orValue([]).size() > 0 || self.?destination.?ports.orValue([]).size() > 0) && (self.?source.?ports.orValue([]).size() == 0 || type(self.?source.?ports.orValue([])[0]) in [string]) && (self.?source.?notPorts.orValue([]).size() == 0 || type(self.?source.?notPorts.orValue([])[0]) in [string]) && (self.?destination.?ports.orValue([]).size() == 0 || type(self.?destination.?ports.orValue([])[0]) in [string]) && (self.?destination.?notPorts.orValue([]).size() == 0 || type(self.?destination.?notPorts.orValue([])[0]) in [string]))",message="ports and notPorts require protocol TCP, UDP, SCTP or UDPLite, unless all of them are names"
// +kubebuilder:validation:XValidation:rule="!has(self.destination) || !has(self.destination.services) || (self.destination.?ports.orValue([]).size() == 0 && self.destination.?notPorts.orValue([]).size() == 0)",message="services of a destination cannot be combined with ports and notPorts: it already names ports"
// +kubebuilder:validation:XValidation:rule="(!has(self.icmp) && !has(self.notICMP)) || (has(self.protocol) && (type(self.protocol) in [int] ? self.protocol in [1, 58] : self.protocol in ['ICMP', 'ICMPv6', 'icmp', 'icmpv6']))",message="icmp and notICMP require protocol ICMP or ICMPv6"
// +kubebuilder:validation:XValidation:rule="!has(self.source) || !has(self.destination) || ((!has(self.source.nets) || self.source.nets.size() == 0 || ((!has(self.destination.nets) || self.destination.nets.size() == 0 || self.source.nets[0].contains(':') == self.destination.nets[0].contains(':')) && (!has(self.destination.notNets) || self.destination.notNets.size() == 0 || self.source.nets[0].contains(':') == self.destination.notNets[0].contains(':')))) && (!has(self.source.notNets) || self.source.notNets.size() == 0 || ((!has(self.destination.nets) || self.destination.nets.size() == 0 || self.source.notNets[0].contains(':') == self.destination.nets[0].contains(':')) && (!has(self.destination.notNets) || self.destination.notNets.size() == 0 || self.source.notNets[0].contains(':') == self.destination.notNets[0].contains(':')))))",message="source and destination must not mix IPv4 and IPv6 blocks: no packet has both families; write one rule for each"
// +kubebuilder:validation:XValidation:rule="!has(self.ipVersion) || ((!has(self.source) || ((!has(self.source.nets) || self.source.nets.size() == 0 || self.source.nets[0].contains(':') == (self.ipVersion == 6)) && (!has(self.source.notNets) || self.source.notNets.size() == 0 || self.source.notNets[0].contains(':') == (self.ipVersion == 6)))) && (!has(self.destination) || ((!has(self.destination.nets) || self.destination.nets.size() == 0 || self.destination.nets[0].contains(':') == (self.ipVersion == 6)) && (!has(self.destination.notNets) || self.destination.notNets.size() == 0 || self.destination.notNets[0].contains(':') == (self.ipVersion == 6)))))",message="nets and notNets must be of the family that ipVersion names"
type Rule struct {
	// Metadata holds annotations, which appear in explain and in the comments of the
	// ruleset; unset means none.
	// +optional
	Metadata *RuleMetadata `json:"metadata,omitempty"`
	// Action is what to do with matching traffic: Allow and Deny end the
	// direction, Log continues with the next rule, Pass with the next tier.
	// +required
	// +kubebuilder:validation:Enum=Allow;Deny;Log;Pass
	Action Action `json:"action"`
	// IPVersion restricts the rule to IPv4 (4) or IPv6 (6); unset means both.
	// +optional
	// +kubebuilder:validation:Enum=4;6
	IPVersion *int `json:"ipVersion,omitempty"`
	// Protocol is TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or an IANA number 1–255;
	// unset means any. Ports require TCP, UDP, SCTP or UDPLite; if all of them are
	// names, unset means the protocol of each port with that name: TCP, UDP or SCTP.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) in [int] ? self >= 1 && self <= 255 : self in ['TCP', 'UDP', 'ICMP', 'ICMPv6', 'SCTP', 'UDPLite', 'tcp', 'udp', 'icmp', 'icmpv6', 'sctp', 'udplite']",message="must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number 1-255"
	Protocol *intstr.IntOrString `json:"protocol,omitempty"`
	// NotProtocol excludes one protocol, written as in Protocol; unset excludes none.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) in [int] ? self >= 1 && self <= 255 : self in ['TCP', 'UDP', 'ICMP', 'ICMPv6', 'SCTP', 'UDPLite', 'tcp', 'udp', 'icmp', 'icmpv6', 'sctp', 'udplite']",message="must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number 1-255"
	NotProtocol *intstr.IntOrString `json:"notProtocol,omitempty"`
	// ICMP restricts an ICMP or ICMPv6 rule to a type, or to a type and code;
	// unset means any.
	// +optional
	ICMP *ICMPFields `json:"icmp,omitempty"`
	// NotICMP excludes an ICMP type, or a type and code; unset excludes none.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.type)",message="notICMP requires the type that must not match"
	NotICMP *ICMPFields `json:"notICMP,omitempty"`
	// Source is what the sender must match; empty means any sender.
	// +optional
	Source EntityRule `json:"source,omitempty,omitzero"`
	// Destination is what the receiver must match; empty means any receiver.
	// +optional
	Destination EntityRule `json:"destination,omitempty,omitzero"`
	// HTTP is rejected: application-layer matching is not implemented.
	// +optional
	HTTP *HTTPMatch `json:"http,omitempty"`
}

// RuleMetadata annotates one rule.
type RuleMetadata struct {
	// Annotations are free text for users and tools, at most 64.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ICMPFields match the ICMP (or ICMPv6) type and code.
// +kubebuilder:validation:XValidation:rule="!has(self.code) || has(self.type)",message="code requires type"
type ICMPFields struct {
	// Type is the ICMP type, 0–254; unset means any.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=254
	Type *int `json:"type,omitempty"`
	// Code is the ICMP code, 0–255; requires Type; unset means any.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	Code *int `json:"code,omitempty"`
}

// HTTPMatch is the application-layer match of projectcalico.org/v3. It is rejected
// at admission and reported by lint, so that it is never ignored.
type HTTPMatch struct {
	// Methods are HTTP methods.
	// +optional
	Methods []string `json:"methods,omitempty"`
	// Paths are HTTP paths.
	// +optional
	Paths []HTTPPath `json:"paths,omitempty"`
}

// HTTPPath is an exact path or a prefix.
type HTTPPath struct {
	// Exact is a whole path.
	// +optional
	Exact string `json:"exact,omitempty"`
	// Prefix is the beginning of a path.
	// +optional
	Prefix string `json:"prefix,omitempty"`
}

// EntityRule is one side of a rule. All the fields that are set must match.
//
// +kubebuilder:validation:XValidation:rule="!has(self.domains) || self.domains.size() == 0",message="domains is not supported: Tierwall resolves no DNS names, and a rule that ignored them would match too much; use nets or a network set"
// +kubebuilder:validation:XValidation:rule="!has(self.services) || !((has(self.nets) && self.nets.size() > 0) || (has(self.notNets) && self.notNets.size() > 0) || (has(self.selector) && self.selector.size() > 0) || (has(self.notSelector) && self.notSelector.size() > 0) || (has(self.namespaceSelector) && self.namespaceSelector.size() > 0) || has(self.serviceAccounts))",message="services cannot be combined with nets, notNets, selectors and serviceAccounts: it already names addresses"
// +kubebuilder:validation:XValidation:rule="!has(self.nets) || self.nets.size() == 0 || (self.nets[0].contains(':') ? self.nets.all(n, n.contains(':')) : !self.nets.exists(n, n.contains(':')))",message="nets must not mix IPv4 and IPv6 blocks: no packet has both families; write one rule for each"
// +kubebuilder:validation:XValidation:rule="!has(self.nets) || !has(self.notNets) || self.nets.size() == 0 || self.notNets.size() == 0 || self.nets[0].contains(':') == self.notNets[0].contains(':')",message="nets and notNets must be of one family: no packet has both families; write one rule for each"
type EntityRule struct {
	// Nets are address blocks in CIDR form, or addresses, of one IP family, at
	// most 256; the address must be in one of them. Bits beyond the prefix length
	// are ignored. Unset or empty means any address.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="must be an address block in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32, or an address"
	Nets []string `json:"nets,omitempty"`
	// NotNets are address blocks that the address must not be in, written as in
	// Nets, at most 256. A rule with blocks applies to their family only: it matches
	// no address of the other. Unset or empty excludes none.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:Pattern=`^(((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(/(3[0-2]|[12]?[0-9]))?|[0-9a-fA-F]*:[0-9a-fA-F:.]*(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$`
	NotNets []string `json:"notNets,omitempty"`
	// Selector matches endpoints and network sets by label. In a namespaced
	// policy it applies to the policy's own namespace unless NamespaceSelector is
	// set. Empty means any peer, known or not. For example:
	// app in {'web', 'api'}
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Selector string `json:"selector,omitempty"`
	// NotSelector excludes what it matches; on its own, it also matches unknown
	// addresses. Empty excludes nothing. For example:
	// app == 'db' || name starts with 'backup-'
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	NotSelector string `json:"notSelector,omitempty"`
	// NamespaceSelector restricts Selector to the namespaces that it matches;
	// global() means objects in no namespace. Empty means the policy's own
	// namespace, or everything in a policy without one. For example:
	// kubernetes.io/metadata.name == 'monitoring'
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	// Services matches the endpoints of one Kubernetes Service: in an egress rule's
	// destination, their addresses and ports, and it cannot be combined with other fields
	// of that side; in an ingress rule's source, their addresses, and it can be combined
	// with Ports and NotPorts of the sender.
	// Unset means no such restriction.
	// +optional
	Services *ServiceMatch `json:"services,omitempty"`
	// Ports are numbers 1–65535, ranges "8080:8090" with the lower end first, or
	// port names, which consist of letters, digits, '_', '.' and '-' with at least one
	// letter; one must match. At most 50. Unset or empty means any port.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:XIntOrString
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^(([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?|[a-zA-Z0-9_.-]*[a-zA-Z][a-zA-Z0-9_.-]*)$`
	// +kubebuilder:validation:items:XValidation:rule="!(type(self) in [int]) || (self >= 1 && self <= 65535)",message="must be a port 1-65535, a range such as 8080:8090, or the name of a port"
	Ports []intstr.IntOrString `json:"ports,omitempty"`
	// NotPorts are ports that must not match, written as in Ports, at most 50.
	// Unset or empty excludes none.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:XIntOrString
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^(([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?|[a-zA-Z0-9_.-]*[a-zA-Z][a-zA-Z0-9_.-]*)$`
	// +kubebuilder:validation:items:XValidation:rule="!(type(self) in [int]) || (self >= 1 && self <= 65535)",message="must be a port 1-65535, a range such as 8080:8090, or the name of a port"
	NotPorts []intstr.IntOrString `json:"notPorts,omitempty"`
	// ServiceAccounts restricts the side to pods that run as matching service
	// accounts; unset means no such restriction.
	// +optional
	ServiceAccounts *ServiceAccountMatch `json:"serviceAccounts,omitempty"`
	// Domains is refused: DNS-name matching is not built.
	// +optional
	Domains []string `json:"domains,omitempty"`
}

// ServiceMatch names one Kubernetes Service.
type ServiceMatch struct {
	// Name of the Service.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Namespace of the Service. In a namespaced policy, empty means the policy's
	// own; in a global one it must be set.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// ServiceAccountMatch matches pods by the service account that they run as. If
// both fields are set, both must match.
type ServiceAccountMatch struct {
	// Names of service accounts, in the namespaces that the side's selectors
	// leave in scope; at most 256; empty means any name.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Names []string `json:"names,omitempty"`
	// Selector matches the labels of service accounts; empty means any. For example:
	// team == 'payments'
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Selector string `json:"selector,omitempty"`
}
