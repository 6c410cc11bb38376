package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NetworkSetSpec is the specification of a network set.
type NetworkSetSpec struct {
	// Nets are address blocks in CIDR form, or addresses, IPv4 and IPv6 in
	// any combination; they may overlap. Bits beyond the prefix length are ignored. At most 50,000. Empty means that the set has no addresses.
	// +optional
	// +kubebuilder:validation:MaxItems=50000
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="must be an address block in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32, or an address"
	Nets []string `json:"nets,omitempty"`
	// AllowedEgressDomains are DNS names, written as in the domains of a rule, at most
	// 500. Where the selector of an egress rule's destination matches the set and the
	// action is Allow or Log, the rule matches the addresses that DNS answers for these
	// names have brought, beside those of Nets. No other rule does, and no notSelector.
	// +optional
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=254
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
