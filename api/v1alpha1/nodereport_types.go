package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Bounds of a NodeReport. An agent that has more to say says so in Truncated.
const (
	// MaxReportedPolicies is how many policies a report lists as enforced.
	MaxReportedPolicies = 2000
	// MaxReportedBytes is how many bytes the names of all these may have.
	MaxReportedBytes = 128 << 10
	// MaxReportedFailures is how many policies a report lists as failed.
	MaxReportedFailures = 50
	// MaxReportedErrors is how many other errors a report lists.
	MaxReportedErrors = 10
	// MaxReportedMessage is the length of a message in bytes; longer ones are cut.
	MaxReportedMessage = 512
)

// NodeState is what a node's agent says about its node.
type NodeState struct {
	// AgentVersion is the agent's build.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	AgentVersion string `json:"agentVersion,omitempty"`
	// Dataplane is what programs the kernel: NFTables or IPTables.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Dataplane string `json:"dataplane,omitempty"`
	// RenewTime is when the agent wrote this, by the node's clock.
	// +optional
	RenewTime metav1.Time `json:"renewTime,omitempty,omitzero"`
	// LeaseSeconds is how long after RenewTime the next report comes at the
	// latest; an agent that is much later is silent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	LeaseSeconds int32 `json:"leaseSeconds,omitempty"`
	// InSync says that the kernel held all that the objects say when this was
	// written. The objects are those that the agent knew of.
	// +required
	InSync bool `json:"inSync"`
	// LastSuccessTime is when the kernel was last brought up to date, or found to be.
	// +optional
	LastSuccessTime *metav1.Time `json:"lastSuccessTime,omitempty"`
	// LastApply is how long the last transaction with the kernel took.
	// +optional
	LastApply *metav1.Duration `json:"lastApply,omitempty"`
	// SlowestApply is how long the slowest one of about the last hour took.
	// +optional
	SlowestApply *metav1.Duration `json:"slowestApply,omitempty"`
	// Counts of what is there on the node.
	// +required
	Counts ReportCounts `json:"counts"`
	// Errors that hold now, at most ten; those of policies are in Failed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Errors []ReportedError `json:"errors,omitempty"`
	// Policies are the Tierwall policies that select endpoints of the node and are
	// in its kernel, by GlobalNetworkPolicy/name and
	// NetworkPolicy.tierwall.io/namespace/name, each with the generation that is
	// there; at most 2,000, and 128 KiB of names.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MaxProperties=2000
	Policies map[string]int64 `json:"policies,omitempty"`
	// Failed are the policies of any kind that select endpoints of the node and
	// whose current generation is not in its kernel; at most 50.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Failed []FailedPolicy `json:"failed,omitempty"`
	// Guards by name (source, link, encapsulation, wildcard, discovery): what they do
	// on this node, and how many packets they have met; at most 16.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MaxProperties=16
	Guards map[string]ReportedGuard `json:"guards,omitempty"`
	// Truncated says that Policies or Failed do not list all that there are.
	// +optional
	Truncated bool `json:"truncated,omitempty"`
}

// ReportCounts are sizes.
type ReportCounts struct {
	// Endpoints of the node: pods and host endpoints.
	// +required
	Endpoints int32 `json:"endpoints"`
	// Policies of all kinds that select them.
	// +required
	Policies int32 `json:"policies"`
	// Rules of these policies.
	// +optional
	Rules int32 `json:"rules,omitempty"`
	// Sets of peers, and their members.
	// +optional
	Sets int32 `json:"sets,omitempty"`
	// +optional
	SetMembers int32 `json:"setMembers,omitempty"`
	// InvalidObjects are not as they should be; each is in a form that never
	// widens access.
	// +optional
	InvalidObjects int32 `json:"invalidObjects,omitempty"`
}

// ReportedError is something that is wrong on a node.
type ReportedError struct {
	// Kind of the error: Kernel, Source or Object.
	// +required
	// +kubebuilder:validation:MaxLength=32
	Kind string `json:"kind"`
	// Message for people.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// FailedPolicy is a policy that a node does not enforce as it stands.
type FailedPolicy struct {
	// Policy as Kind/name or Kind/namespace/name.
	// +required
	// +kubebuilder:validation:MaxLength=400
	Policy string `json:"policy"`
	// Generation that is not enforced.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// Message says why, and what holds instead.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=tierwall-io
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.report.agentVersion`
// +kubebuilder:printcolumn:name="Dataplane",type=string,JSONPath=`.report.dataplane`
// +kubebuilder:printcolumn:name="In sync",type=boolean,JSONPath=`.report.inSync`
// +kubebuilder:printcolumn:name="Endpoints",type=integer,JSONPath=`.report.counts.endpoints`
// +kubebuilder:printcolumn:name="Policies",type=integer,JSONPath=`.report.counts.policies`
// +kubebuilder:printcolumn:name="Slowest apply",type=string,JSONPath=`.report.slowestApply`
// +kubebuilder:printcolumn:name="Renewed",type=date,JSONPath=`.report.renewTime`

// NodeReport is what the agent of one node says about it, under the node's name.
// Agents write it and the manager sums it up in the status of policies; people
// only read it. It is gone with its Node.
type NodeReport struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Report is what the agent last wrote.
	// +optional
	Report NodeState `json:"report,omitempty,omitzero"`
}

// +kubebuilder:object:root=true

// NodeReportList is a list of NodeReport.
type NodeReportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeReport `json:"items"`
}
