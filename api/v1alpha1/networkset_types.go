package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NetworkSetSpec is the specification of a network set.
// +kubebuilder:validation:XValidation:rule="!has(self.allowedEgressDomains) || self.allowedEgressDomains.size() == 0",message="allowedEgressDomains is not supported: Tierwall resolves no DNS names, and ignoring them would leave the set incomplete; list the addresses in nets"
type NetworkSetSpec struct {
	// Nets are address blocks in CIDR form, or addresses, IPv4 and IPv6 in
	// any combination; they may overlap. Bits beyond the prefix length are ignored. At most 50,000. Empty means that the set has no addresses.
	// +optional
	// +kubebuilder:validation:MaxItems=50000
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="must be an address block in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32, or an address"
	Nets []string `json:"nets,omitempty"`
	// AllowedEgressDomains is rejected: DNS-name matching is not implemented.
	// +optional
	AllowedEgressDomains []string `json:"allowedEgressDomains,omitempty"`
}

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=gns,categories=tierwall-io
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// GlobalNetworkSet gives addresses labels, so that rules' selectors match them.
type GlobalNetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is the desired state.
	// +optional
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
// +kubebuilder:resource:scope=Namespaced,shortName=netset,categories=tierwall-io
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// NetworkSet gives addresses labels within its namespace.
type NetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is the desired state.
	// +optional
	Spec NetworkSetSpec `json:"spec,omitempty"`
}

// +kubebuilder:object:root=true

// NetworkSetList is a list of NetworkSet.
type NetworkSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NetworkSet `json:"items"`
}
