package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DefaultTier is the tier of policies that name none, and of native NetworkPolicies.
const DefaultTier = "default"

// EnforcementAnnotation on a native NetworkPolicy stages it: value Enforced or Audit.
const EnforcementAnnotation = "tierwall.io/enforcement"

// GlobalNetworkPolicySpec is what a GlobalNetworkPolicy says.
type GlobalNetworkPolicySpec struct {
	// Tier that the policy belongs to; default "default".
	Tier string `json:"tier,omitempty"`
	// Order within the tier, lowest first; unset comes last; ties go by kind, namespace and name.
	Order *float64 `json:"order,omitempty"`
	// Selector of the endpoints; empty selects all.
	Selector string `json:"selector,omitempty"`
	// NamespaceSelector restricts the policy to workload endpoints in matching namespaces.
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	// ServiceAccountSelector restricts the policy to pods of matching service accounts.
	ServiceAccountSelector string `json:"serviceAccountSelector,omitempty"`
	// Types are the directions that the policy governs; unset follows from the rules.
	Types []PolicyType `json:"types,omitempty"`
	// Ingress rules, in order.
	Ingress []Rule `json:"ingress,omitempty"`
	// Egress rules, in order.
	Egress []Rule `json:"egress,omitempty"`
	// Enforcement: Enforced (default) or Audit.
	Enforcement Enforcement `json:"enforcement,omitempty"`
	// DoNotTrack applies the rules before connection tracking; host endpoints
	// only; needs ApplyOnForward.
	DoNotTrack bool `json:"doNotTrack,omitempty"`
	// PreDNAT applies the rules before destination NAT; host endpoints and
	// ingress only; needs ApplyOnForward.
	PreDNAT bool `json:"preDNAT,omitempty"`
	// ApplyOnForward applies the rules to traffic forwarded through a host
	// endpoint as well as to traffic that ends there.
	ApplyOnForward bool `json:"applyOnForward,omitempty"`
	// PerformanceHints are accepted for compatibility and have no effect.
	PerformanceHints []string `json:"performanceHints,omitempty"`
}

// NetworkPolicySpec is what a NetworkPolicy of group tierwall.io says.
type NetworkPolicySpec struct {
	// Tier that the policy belongs to; default "default".
	Tier string `json:"tier,omitempty"`
	// Order within the tier, lowest first; unset comes last; ties go by kind, namespace and name.
	Order *float64 `json:"order,omitempty"`
	// Selector of the endpoints in the policy's namespace; empty selects all.
	Selector string `json:"selector,omitempty"`
	// ServiceAccountSelector restricts the policy to pods of matching service accounts.
	ServiceAccountSelector string `json:"serviceAccountSelector,omitempty"`
	// Types are the directions that the policy governs; unset follows from the rules.
	Types []PolicyType `json:"types,omitempty"`
	// Ingress rules, in order.
	Ingress []Rule `json:"ingress,omitempty"`
	// Egress rules, in order.
	Egress []Rule `json:"egress,omitempty"`
	// Enforcement: Enforced (default) or Audit.
	Enforcement Enforcement `json:"enforcement,omitempty"`
	// PerformanceHints are accepted for compatibility and have no effect.
	PerformanceHints []string `json:"performanceHints,omitempty"`
}

// PolicyStatus says whether and where a policy is enforced.
type PolicyStatus struct {
	// ObservedGeneration is the generation that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted and Enforced.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Nodes counts the nodes that should enforce the policy and those that do.
	Nodes *NodeCounts `json:"nodes,omitempty"`
}

// NodeCounts counts nodes.
type NodeCounts struct {
	// Ready is "enforced/desired", for people.
	Ready string `json:"ready,omitempty"`
	// Desired is the number of nodes with an endpoint that the policy selects.
	Desired int32 `json:"desired"`
	// Enforced is the number of those that enforce this generation.
	Enforced int32 `json:"enforced"`
	// Failed is the number of those that report an error.
	Failed int32 `json:"failed,omitempty"`
	// FailedNodes names up to ten of them.
	FailedNodes []string `json:"failedNodes,omitempty"`
}

// +kubebuilder:object:root=true

// GlobalNetworkPolicy applies to endpoints of the whole cluster, hosts included.
type GlobalNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GlobalNetworkPolicySpec `json:"spec,omitempty"`
	Status PolicyStatus            `json:"status,omitempty"`
}

// +kubebuilder:object:root=true

// GlobalNetworkPolicyList is a list of GlobalNetworkPolicy.
type GlobalNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GlobalNetworkPolicy `json:"items"`
}

// +kubebuilder:object:root=true

// NetworkPolicy applies to the workload endpoints of its namespace.
type NetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   NetworkPolicySpec `json:"spec,omitempty"`
	Status PolicyStatus      `json:"status,omitempty"`
}

// +kubebuilder:object:root=true

// NetworkPolicyList is a list of NetworkPolicy.
type NetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NetworkPolicy `json:"items"`
}
