package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TierSpec is what a Tier says.
type TierSpec struct {
	// Order among tiers, lowest first; unset comes last; ties go by name.
	Order *float64 `json:"order,omitempty"`
	// DefaultAction ends the tier for an endpoint that at least one of its
	// policies selects in the direction at hand: Deny (default) or Pass.
	DefaultAction *Action `json:"defaultAction,omitempty"`
}

// TierStatus is the state of a Tier.
type TierStatus struct {
	// ObservedGeneration is the generation that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions of the tier.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true

// Tier is an ordered group of policies, owned through RBAC.
type Tier struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TierSpec   `json:"spec,omitempty"`
	Status TierStatus `json:"status,omitempty"`
}

// +kubebuilder:object:root=true

// TierList is a list of Tier.
type TierList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Tier `json:"items"`
}
