package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NetworkSetSpec is what a network set holds.
type NetworkSetSpec struct {
	// Nets are address blocks in CIDR form, IPv4 and IPv6 as they come.
	Nets []string `json:"nets,omitempty"`
	// AllowedEgressDomains is refused: DNS-name matching is not built.
	AllowedEgressDomains []string `json:"allowedEgressDomains,omitempty"`
}

// +kubebuilder:object:root=true

// GlobalNetworkSet gives addresses labels, so that rules' selectors match them.
type GlobalNetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NetworkSetSpec `json:"spec,omitempty"`
}

// +kubebuilder:object:root=true

// GlobalNetworkSetList is a list of GlobalNetworkSet.
type GlobalNetworkSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GlobalNetworkSet `json:"items"`
}

// +kubebuilder:object:root=true

// NetworkSet gives addresses labels within its namespace.
type NetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NetworkSetSpec `json:"spec,omitempty"`
}

// +kubebuilder:object:root=true

// NetworkSetList is a list of NetworkSet.
type NetworkSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NetworkSet `json:"items"`
}
