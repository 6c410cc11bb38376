package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// HostEndpointSpec is what a HostEndpoint says.
type HostEndpointSpec struct {
	// Node whose interface this is.
	Node string `json:"node,omitempty"`
	// InterfaceName is the Linux interface, or "*" for all of the node's
	// interfaces but those of its workloads.
	InterfaceName string `json:"interfaceName,omitempty"`
	// ExpectedIPs are the host's addresses; alone, they select the interface.
	ExpectedIPs []string `json:"expectedIPs,omitempty"`
	// Profiles of the model API: projectcalico-default-allow reads as
	// defaultAction Allow; any other name is refused.
	Profiles []string `json:"profiles,omitempty"`
	// Ports are names for ports of the host, for use in rules.
	Ports []EndpointPort `json:"ports,omitempty"`
	// DefaultAction for local traffic that no tier decides: Deny (default) or Allow.
	DefaultAction *Action `json:"defaultAction,omitempty"`
}

// EndpointPort names a port.
type EndpointPort struct {
	// Name that rules refer to.
	Name string `json:"name"`
	// Protocol: TCP, UDP or SCTP.
	Protocol intstr.IntOrString `json:"protocol"`
	// Port number, 1–65535.
	Port int32 `json:"port"`
}

// +kubebuilder:object:root=true

// HostEndpoint is an interface of a node that policies protect.
type HostEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec HostEndpointSpec `json:"spec,omitempty"`
}

// +kubebuilder:object:root=true

// HostEndpointList is a list of HostEndpoint.
type HostEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HostEndpoint `json:"items"`
}
