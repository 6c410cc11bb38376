package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Bounds of a NodeReport. A report that exceeds one has Truncated set.
const (
	// MaxReportedPolicies is how many policies a report lists as enforced.
	MaxReportedPolicies = 2000
	// MaxReportedBytes is how many bytes the names of all these may have together.
	MaxReportedBytes = 128 << 10
	// MaxReportedFailures is how many policies a report lists as failed.
	MaxReportedFailures = 50
	// MaxReportedErrors is how many other errors a report lists.
	MaxReportedErrors = 10
	// MaxReportedMessage is the length of a message in bytes; longer ones are cut.
	MaxReportedMessage = 512
	// MaxReportedAddresses is how many addresses of the node a report lists.
	MaxReportedAddresses = 256
	// MaxReportedRoutes is how many routes of the node a report lists.
	MaxReportedRoutes = 64
	// MaxReportedTunnels is how many tunnels of the node a report lists.
	MaxReportedTunnels = 32
	// MaxReportedGhosts is how many addresses of ghosts a report lists.
	MaxReportedGhosts = 64
)

// NodeState is what a node's agent reports about its node.
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
	// LeaseSeconds is the time after RenewTime within which the next report is due;
	// an agent that is much later counts as silent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	LeaseSeconds int32 `json:"leaseSeconds,omitempty"`
	// InSync reports whether the kernel held everything that the objects require when
	// this was written. The objects are those that the agent knew of.
	// +required
	InSync bool `json:"inSync"`
	// LastSuccessTime is when the kernel was last brought up to date, or last found up to date.
	// +optional
	LastSuccessTime *metav1.Time `json:"lastSuccessTime,omitempty"`
	// LastApply is how long the last transaction with the kernel took.
	// +optional
	LastApply *metav1.Duration `json:"lastApply,omitempty"`
	// SlowestApply is how long the slowest transaction of about the last hour took.
	// +optional
	SlowestApply *metav1.Duration `json:"slowestApply,omitempty"`
	// Counts are the numbers of objects on the node.
	// +required
	Counts ReportCounts `json:"counts"`
	// Errors that exist now, at most ten; those of policies are in Failed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Errors []ReportedError `json:"errors,omitempty"`
	// Policies are the Tierwall policies that select endpoints of the node and are
	// in its kernel, by GlobalNetworkPolicy/name and
	// NetworkPolicy.tierwall.io/namespace/name, each with the generation that is in
	// the kernel; at most 2,000, and 128 KiB of names.
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
	// Guards by name (source, link, encapsulation, wildcard, discovery): their mode on
	// this node, and the number of packets that they have detected; at most 16.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MaxProperties=16
	Guards map[string]ReportedGuard `json:"guards,omitempty"`
	// Truncated reports that Policies or Failed are incomplete.
	// +optional
	Truncated bool `json:"truncated,omitempty"`
	// Links are what the node's kernel reports about the node itself; absent if the
	// agent cannot read it.
	// +optional
	Links *NodeLinks `json:"links,omitempty"`
	// Ghosts are addresses of pods of the node whose object is gone and whose sandbox
	// may still be running: they can neither send nor receive. At most 64; Counts has
	// the total.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Ghosts []ReportedGhost `json:"ghosts,omitempty"`
}

// ReportedGhost is an address of a pod whose object is gone and whose sandbox may
// still be running.
type ReportedGhost struct {
	// Address, IPv4 or IPv6.
	// +required
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address"`
	// Pod that has it, as PodGhost/namespace/name@uid.
	// +required
	// +kubebuilder:validation:MaxLength=400
	Pod string `json:"pod"`
}

// NodeLinks are a node's own addresses, routes and tunnels, as far as they determine
// which policies apply to connections of the node.
type NodeLinks struct {
	// Addresses at which the node receives packets, whichever interface they are on.
	// Loopback and link-local ones are omitted. At most 256; those of interfaces other
	// than lo come first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Addresses []NodeAddress `json:"addresses,omitempty"`
	// Routes of the main table. Adjacent blocks behind one interface are merged,
	// and a block within a wider one behind the same interface is omitted. At most
	// 64, the widest ones.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Routes []NodeRoute `json:"routes,omitempty"`
	// Tunnels are the node's encapsulating interfaces, at most 32.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tunnels []NodeTunnel `json:"tunnels,omitempty"`
	// Truncated reports that one of these lists is incomplete.
	// +optional
	Truncated bool `json:"truncated,omitempty"`
}

// NodeAddress is one of the node's own addresses.
type NodeAddress struct {
	// Address, IPv4 or IPv6.
	// +required
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address"`
	// Interface that has it.
	// +required
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface"`
	// LeadsToPods reports that local pods are behind the interface.
	// +optional
	LeadsToPods bool `json:"leadsToPods,omitempty"`
}

// NodeRoute is the route to a block of addresses.
type NodeRoute struct {
	// Net is the block in CIDR form.
	// +required
	// +kubebuilder:validation:MaxLength=49
	Net string `json:"net"`
	// Interface by which the node sends to it.
	// +required
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface"`
}

// NodeTunnel is an encapsulating interface.
type NodeTunnel struct {
	// Interface of the tunnel.
	// +required
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface"`
	// Protocol is the outer IP protocol, a name or a number: UDP, 4 (IPIP), 41, 47 (GRE).
	// +required
	// +kubebuilder:validation:MaxLength=16
	Protocol string `json:"protocol"`
	// Port is the outer destination port; absent for protocols without ports.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// ReportCounts are numbers of objects on a node.
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
	// InvalidObjects is the number of invalid objects; each is enforced in a form that
	// never widens access.
	// +optional
	InvalidObjects int32 `json:"invalidObjects,omitempty"`
	// Ghosts is the number of addresses of pods whose object is gone and whose sandbox may still be running.
	// +optional
	Ghosts int32 `json:"ghosts,omitempty"`
	// UnseenPods is the number of pods of the node of which neither the container runtime
	// (NRI) nor an interface of their own shows whether they are running: if such a pod's
	// object is gone before it has ended, its address is denied for its grace period plus
	// 30 seconds, at most an hour.
	// +optional
	UnseenPods int32 `json:"unseenPods,omitempty"`
	// PastBudget is the number of policies and pods past a budget (spec.budgets): they
	// deny what they govern or keep the version in force or, where budgets only count, are
	// enforced as written.
	// +optional
	PastBudget int32 `json:"pastBudget,omitempty"`
	// WaitingChanges is the number of changes not processed yet, because others' went first.
	// +optional
	WaitingChanges int32 `json:"waitingChanges,omitempty"`
}

// ReportedError is something that is wrong on a node.
type ReportedError struct {
	// Kind of the error: Kernel, Source or Object.
	// +required
	// +kubebuilder:validation:MaxLength=32
	Kind string `json:"kind"`
	// Message is human-readable.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// FailedPolicy is a policy that a node does not enforce in its current form.
type FailedPolicy struct {
	// Policy as Kind/name or Kind/namespace/name.
	// +required
	// +kubebuilder:validation:MaxLength=400
	Policy string `json:"policy"`
	// Generation that is not enforced.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// Message gives the reason, and what is in force instead.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
	// PastBudget is what is in force on the node of a policy that is past the budget of
	// its namespace (spec.budgets): Current, Previous, Narrowed or DenyAll. It is empty
	// for policies that have failed for another reason, and in reports of older agents,
	// which give it in Message only.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	PastBudget PastBudgetForm `json:"pastBudget,omitempty"`
}

// PastBudgetForm is what is in force on a node of a policy past the budget of its namespace.
type PastBudgetForm string

const (
	// PastBudgetCurrent means the current version, which was in force already when it came to
	// be past the budget. After a restart of the agent it is DenyAll.
	PastBudgetCurrent PastBudgetForm = "Current"
	// PastBudgetPrevious means the previous version.
	PastBudgetPrevious PastBudgetForm = "Previous"
	// PastBudgetNarrowed means the previous version, while everything that only the current
	// one governs is denied.
	PastBudgetNarrowed PastBudgetForm = "Narrowed"
	// PastBudgetDenyAll means everything that the policy governs is denied.
	PastBudgetDenyAll PastBudgetForm = "DenyAll"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=tierwall-io
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.report.agentVersion`
// +kubebuilder:printcolumn:name="Dataplane",type=string,JSONPath=`.report.dataplane`
// +kubebuilder:printcolumn:name="In sync",type=boolean,JSONPath=`.report.inSync`
// +kubebuilder:printcolumn:name="Endpoints",type=integer,JSONPath=`.report.counts.endpoints`
// +kubebuilder:printcolumn:name="Policies",type=integer,JSONPath=`.report.counts.policies`
// +kubebuilder:printcolumn:name="Slowest apply",type=string,JSONPath=`.report.slowestApply`
// +kubebuilder:printcolumn:name="Renewed",type=date,JSONPath=`.report.renewTime`

// NodeReport is what the agent of one node reports about it; it has the node's name.
// Agents write it and the manager summarizes it in the status of policies; users
// only read it. It is deleted with its Node.
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
