package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DefaultTier is the tier of policies that name none, and of native NetworkPolicies.
const DefaultTier = "default"

// EnforcementAnnotation puts a native NetworkPolicy in audit mode: value Enforced or Audit.
const EnforcementAnnotation = "tierwall.io/enforcement"

// GlobalNetworkPolicySpec is the specification of a GlobalNetworkPolicy.
//
// +kubebuilder:validation:XValidation:rule="!self.?doNotTrack.orValue(false) || !self.?preDNAT.orValue(false)",message="doNotTrack cannot be combined with preDNAT"
// +kubebuilder:validation:XValidation:rule="!self.?doNotTrack.orValue(false) || self.?applyOnForward.orValue(false)",message="doNotTrack requires applyOnForward: true"
// +kubebuilder:validation:XValidation:rule="!self.?preDNAT.orValue(false) || self.?applyOnForward.orValue(false)",message="preDNAT requires applyOnForward: true"
// +kubebuilder:validation:XValidation:rule="!self.?preDNAT.orValue(false) || ((!has(self.egress) || self.egress.size() == 0) && (!has(self.types) || !('Egress' in self.types)))",message="preDNAT cannot be combined with egress rules or type Egress: before destination NAT there is only incoming traffic"
type GlobalNetworkPolicySpec struct {
	// Tier that the policy belongs to; default "default".
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Tier string `json:"tier,omitempty"`
	// Order within the tier, lowest first; unset comes last. Ties are broken by kind,
	// namespace and name. Native NetworkPolicies have order 1000 in tier default.
	// +optional
	Order *float64 `json:"order,omitempty"`
	// Selector of the endpoints, workloads and hosts; empty selects all. For example:
	// app == 'web' && track not in {'canary', 'test'}
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Selector string `json:"selector,omitempty"`
	// NamespaceSelector restricts the policy to workload endpoints in matching
	// namespaces; empty means no such restriction. For example:
	// kubernetes.io/metadata.name == 'shop' || has(team)
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	// ServiceAccountSelector restricts the policy to pods with matching service
	// accounts; empty means no such restriction. For example:
	// role in {'builder', 'deployer'}
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	ServiceAccountSelector string `json:"serviceAccountSelector,omitempty"`
	// Types are the directions that the policy governs, Ingress and Egress. If unset
	// or empty, they follow from the rules: Ingress without egress rules, Egress with
	// egress rules only, and both with both.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	Types []PolicyType `json:"types,omitempty"`
	// Ingress rules, in order, at most 1,024. Without any, the end of the tier decides
	// ingress traffic, if Types includes Ingress.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.destination) || !has(r.destination.services))",message="services is only allowed in the source of an ingress rule"
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.source) || !has(r.source.services) || (has(r.source.services.__namespace__) && r.source.services.__namespace__.size() > 0))",message="services of a global policy requires namespace"
	Ingress []Rule `json:"ingress,omitempty"`
	// Egress rules, in order, at most 1,024. Without any, the end of the tier decides
	// egress traffic, if Types includes Egress.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.source) || !has(r.source.services))",message="services is only allowed in the destination of an egress rule"
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.destination) || !has(r.destination.services) || (has(r.destination.services.__namespace__) && r.destination.services.__namespace__.size() > 0))",message="services of a global policy requires namespace"
	Egress []Rule `json:"egress,omitempty"`
	// Enforcement: Enforced (default), or Audit to evaluate, count and report the
	// policy without applying it.
	// +optional
	// +kubebuilder:default=Enforced
	Enforcement Enforcement `json:"enforcement,omitempty"`
	// DoNotTrack applies the rules before connection tracking; host endpoints
	// only; requires ApplyOnForward; replies need rules of their own.
	// +optional
	DoNotTrack bool `json:"doNotTrack,omitempty"`
	// PreDNAT applies the rules before destination NAT; host endpoints and
	// ingress only; requires ApplyOnForward.
	// +optional
	PreDNAT bool `json:"preDNAT,omitempty"`
	// ApplyOnForward applies the rules to traffic forwarded through a host
	// endpoint as well as to traffic that ends there.
	// +optional
	ApplyOnForward bool `json:"applyOnForward,omitempty"`
	// PerformanceHints are accepted for compatibility and have no effect.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	PerformanceHints []string `json:"performanceHints,omitempty"`
}

// NetworkPolicySpec is the specification of a NetworkPolicy of group tierwall.io.
type NetworkPolicySpec struct {
	// Tier that the policy belongs to; default "default".
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Tier string `json:"tier,omitempty"`
	// Order within the tier, lowest first; unset comes last. Ties are broken by kind,
	// namespace and name. Native NetworkPolicies have order 1000 in tier default.
	// +optional
	Order *float64 `json:"order,omitempty"`
	// Selector of the endpoints in the policy's namespace; empty selects all. For example:
	// app == 'web' && !has(quarantine)
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Selector string `json:"selector,omitempty"`
	// ServiceAccountSelector restricts the policy to pods with matching service
	// accounts; empty means no such restriction. For example:
	// role in {'builder', 'deployer'}
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	ServiceAccountSelector string `json:"serviceAccountSelector,omitempty"`
	// Types are the directions that the policy governs, Ingress and Egress. If unset
	// or empty, they follow from the rules: Ingress without egress rules, Egress with
	// egress rules only, and both with both.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	Types []PolicyType `json:"types,omitempty"`
	// Ingress rules, in order, at most 1,024. Without any, the end of the tier decides
	// ingress traffic, if Types includes Ingress.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.destination) || !has(r.destination.services))",message="services is only allowed in the source of an ingress rule"
	Ingress []Rule `json:"ingress,omitempty"`
	// Egress rules, in order, at most 1,024. Without any, the end of the tier decides
	// egress traffic, if Types includes Egress.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.source) || !has(r.source.services))",message="services is only allowed in the destination of an egress rule"
	Egress []Rule `json:"egress,omitempty"`
	// Enforcement: Enforced (default), or Audit to evaluate, count and report the
	// policy without applying it.
	// +optional
	// +kubebuilder:default=Enforced
	Enforcement Enforcement `json:"enforcement,omitempty"`
	// PerformanceHints are accepted for compatibility and have no effect.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	PerformanceHints []string `json:"performanceHints,omitempty"`
}

// PolicyStatus reports whether a policy is understood and where it is enforced.
type PolicyStatus struct {
	// ObservedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted and Enforced.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Nodes counts the nodes that should enforce the policy and those that do;
	// unset until a node has reported.
	// +optional
	Nodes *NodeCounts `json:"nodes,omitempty"`
	// Types are the directions that the policy governs, even if spec.types is unset,
	// in human-readable form: "Ingress", "Egress" or "Ingress,Egress".
	// +optional
	Types string `json:"types,omitempty"`
	// Order is spec.order in human-readable form, "last" if it is unset.
	// +optional
	Order string `json:"order,omitempty"`
}

// NodeCounts counts nodes.
type NodeCounts struct {
	// Ready is "enforced/desired", in human-readable form.
	// +optional
	Ready string `json:"ready,omitempty"`
	// Desired is the number of nodes with an endpoint that the policy selects.
	// +required
	Desired int32 `json:"desired"`
	// Enforced is the number of those that enforce this generation.
	// +required
	Enforced int32 `json:"enforced"`
	// Failed is the number of those that report an error.
	// +optional
	Failed int32 `json:"failed,omitempty"`
	// FailedNodes names up to ten of them.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	FailedNodes []string `json:"failedNodes,omitempty"`
}

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=gnp,categories=tierwall-io
// +kubebuilder:selectablefield:JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Tier",type=string,JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Order",type=string,JSONPath=`.status.order`
// +kubebuilder:printcolumn:name="Types",type=string,JSONPath=`.status.types`
// +kubebuilder:printcolumn:name="Enforcement",type=string,JSONPath=`.spec.enforcement`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.nodes.ready`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// GlobalNetworkPolicy applies to endpoints of the whole cluster, including hosts.
type GlobalNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is the desired state.
	// +optional
	// +kubebuilder:default={}
	Spec GlobalNetworkPolicySpec `json:"spec,omitempty"`
	// Status is the observed state.
	// +optional
	Status PolicyStatus `json:"status,omitempty,omitzero"`
}

// +kubebuilder:object:root=true

// GlobalNetworkPolicyList is a list of GlobalNetworkPolicy.
type GlobalNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GlobalNetworkPolicy `json:"items"`
}

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=tnp,categories=tierwall-io
// +kubebuilder:selectablefield:JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Tier",type=string,JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Order",type=string,JSONPath=`.status.order`
// +kubebuilder:printcolumn:name="Types",type=string,JSONPath=`.status.types`
// +kubebuilder:printcolumn:name="Enforcement",type=string,JSONPath=`.spec.enforcement`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.nodes.ready`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// NetworkPolicy applies to the workload endpoints of its namespace.
type NetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is the desired state.
	// +optional
	// +kubebuilder:default={}
	Spec NetworkPolicySpec `json:"spec,omitempty"`
	// Status is the observed state.
	// +optional
	Status PolicyStatus `json:"status,omitempty,omitzero"`
}

// +kubebuilder:object:root=true

// NetworkPolicyList is a list of NetworkPolicy.
type NetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NetworkPolicy `json:"items"`
}
