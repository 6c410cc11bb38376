package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TierSpec is the specification of a Tier.
type TierSpec struct {
	// Order among tiers, lowest first; unset comes last. Ties are broken by name.
	// +optional
	Order *float64 `json:"order,omitempty"`
	// DefaultAction applies at the end of the tier to endpoints that at least one of its
	// policies selects in the direction of the traffic: Deny (default) or Pass.
	// +optional
	// +kubebuilder:default=Deny
	// +kubebuilder:validation:Enum=Deny;Pass
	DefaultAction *Action `json:"defaultAction,omitempty"`
}

// TierStatus is the state of a Tier.
type TierStatus struct {
	// ObservedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions of the tier.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=tierwall-io
// +kubebuilder:printcolumn:name="Order",type=number,JSONPath=`.spec.order`
// +kubebuilder:printcolumn:name="Default action",type=string,JSONPath=`.spec.defaultAction`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'kube-admin' || (self.?spec.?order.orValue(0.0) == 1000.0 && self.?spec.?defaultAction.orValue('') == 'Pass')",message="the built-in tier kube-admin has order 1000 and defaultAction Pass; they cannot be changed"
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'default' || (self.?spec.?order.orValue(0.0) == 1000000.0 && self.?spec.?defaultAction.orValue('') == 'Deny')",message="the built-in tier default has order 1000000 and defaultAction Deny; they cannot be changed"
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'kube-baseline' || (self.?spec.?order.orValue(0.0) == 10000000.0 && self.?spec.?defaultAction.orValue('') == 'Pass')",message="the built-in tier kube-baseline has order 10000000 and defaultAction Pass; they cannot be changed"

// Tier is an ordered group of policies, owned through RBAC. Three tiers are
// built in: kube-admin (order 1000, Pass), default (1000000, Deny) and
// kube-baseline (10000000, Pass).
type Tier struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is the desired state.
	// +optional
	// +kubebuilder:default={}
	Spec TierSpec `json:"spec,omitempty"`
	// Status is the observed state.
	// +optional
	Status TierStatus `json:"status,omitempty,omitzero"`
}

// +kubebuilder:object:root=true

// TierList is a list of Tier.
type TierList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Tier `json:"items"`
}
