package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// HostEndpointSpec is the specification of a HostEndpoint.
// +kubebuilder:validation:XValidation:rule="(has(self.interfaceName) && self.interfaceName.size() > 0) || self.?expectedIPs.orValue([]).size() > 0",message="at least one of interfaceName and expectedIPs is required"
type HostEndpointSpec struct {
	// Node whose interface this is.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// InterfaceName is the Linux interface, whatever addresses its packets have, or
	// "*" for all of the node's interfaces, including those that lead to its pods (see
	// wildcardGuard of Tierwall). Empty means that ExpectedIPs select what is guarded.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[^/:\s]*$`
	InterfaceName string `json:"interfaceName,omitempty"`
	// ExpectedIPs are the host's addresses, at most 64, at which rules' selectors match
	// it. On their own, they select what is guarded; with InterfaceName, they do not
	// narrow that down. Empty means the addresses of the node.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && !ip(self).isUnspecified() && !ip(self).isLoopback()",message="must be the IPv4 or IPv6 address of a host, neither unspecified nor loopback"
	ExpectedIPs []string `json:"expectedIPs,omitempty"`
	// Profiles of projectcalico.org/v3: projectcalico-default-allow is read as
	// defaultAction Allow; any other name is rejected.
	// +optional
	// +kubebuilder:validation:MaxItems=1
	// +kubebuilder:validation:items:Enum=projectcalico-default-allow
	Profiles []string `json:"profiles,omitempty"`
	// Ports are names for ports of the host, for use in rules; at most 256.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Ports []EndpointPort `json:"ports,omitempty"`
	// DefaultAction for local traffic that no tier decides: Deny or Allow. Unset
	// means Deny, or Allow with the profile projectcalico-default-allow; a value here
	// overrides the profile.
	// Forwarded traffic that no tier decides is allowed.
	// +optional
	// +kubebuilder:validation:Enum=Deny;Allow
	DefaultAction *Action `json:"defaultAction,omitempty"`
}

// EndpointPort names a port.
type EndpointPort struct {
	// Name that rules refer to: letters, digits, '_', '.' and '-', with at least one
	// letter.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9_.-]*[a-zA-Z][a-zA-Z0-9_.-]*$`
	Name string `json:"name"`
	// Protocol: TCP, UDP or SCTP, or its IANA number.
	// +required
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) in [int] ? self in [6, 17, 132] : self in ['TCP', 'UDP', 'SCTP', 'tcp', 'udp', 'sctp']",message="must be TCP, UDP or SCTP"
	Protocol intstr.IntOrString `json:"protocol"`
	// Port number, 1–65535.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=hep,categories=tierwall-io
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Interface",type=string,JSONPath=`.spec.interfaceName`
// +kubebuilder:printcolumn:name="IPs",type=string,JSONPath=`.spec.expectedIPs`
// +kubebuilder:printcolumn:name="Default action",type=string,JSONPath=`.spec.defaultAction`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// HostEndpoint is an interface of a node that policies protect.
type HostEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is the desired state.
	// +required
	Spec HostEndpointSpec `json:"spec,omitempty"`
}

// +kubebuilder:object:root=true

// HostEndpointList is a list of HostEndpoint.
type HostEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HostEndpoint `json:"items"`
}
