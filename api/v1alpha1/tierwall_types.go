package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TierwallName is the name of the one Tierwall object that counts.
const TierwallName = "default"

// Dataplane says what programs the kernel.
type Dataplane string

const (
	// DataplaneAuto takes nftables where the node has it, iptables elsewhere.
	DataplaneAuto Dataplane = "Auto"
	// DataplaneNFTables takes nftables.
	DataplaneNFTables Dataplane = "NFTables"
	// DataplaneIPTables takes iptables and ipsets.
	DataplaneIPTables Dataplane = "IPTables"
)

// TierwallSpec is what an operator tunes. Every default is safe.
type TierwallSpec struct {
	// Dataplane: Auto (default), NFTables or IPTables.
	Dataplane Dataplane `json:"dataplane,omitempty"`
	// Failsafe ports stay open on host endpoints whatever policies say, so that
	// no policy can cut a node off.
	Failsafe Failsafe `json:"failsafe,omitempty"`
	// EndpointToHostAction decides traffic from a pod to its own node after the
	// pod's egress policy: Accept (default), Drop, or Return (go on to the host endpoint's policy).
	EndpointToHostAction EndpointToHostAction `json:"endpointToHostAction,omitempty"`
	// UnknownWorkloads decides traffic of addresses in the node's pod CIDRs that
	// belong to no known endpoint: Deny (default) or Allow.
	UnknownWorkloads Action `json:"unknownWorkloads,omitempty"`
	// AutoHostEndpoints makes one host endpoint "*" a node, with the node's
	// labels and addresses and defaultAction Allow.
	AutoHostEndpoints bool `json:"autoHostEndpoints,omitempty"`
	// Logging of rules with action Log.
	Logging LoggingSpec `json:"logging,omitempty"`
	// Metrics of the agents.
	Metrics MetricsSpec `json:"metrics,omitempty"`
	// Agent is how the node agents run.
	Agent AgentSpec `json:"agent,omitempty"`
}

// EndpointToHostAction decides traffic from a pod to its own node.
type EndpointToHostAction string

const (
	// EndpointToHostAccept lets it in.
	EndpointToHostAccept EndpointToHostAction = "Accept"
	// EndpointToHostDrop drops it.
	EndpointToHostDrop EndpointToHostAction = "Drop"
	// EndpointToHostReturn leaves it to the host endpoint's policy.
	EndpointToHostReturn EndpointToHostAction = "Return"
)

// Failsafe lists ports that stay open on host endpoints. A nil list means the
// built-in defaults, an empty one no ports at all.
type Failsafe struct {
	// Inbound ports of the host; default TCP 22, 179, 2379, 2380, 5473, 6443, 6666, 6667, 10250 and UDP 68.
	Inbound *[]FailsafePort `json:"inbound,omitempty"`
	// Outbound ports of remote peers; default UDP 53, 67 and TCP 179, 2379, 2380, 5473, 6443, 6666, 6667.
	Outbound *[]FailsafePort `json:"outbound,omitempty"`
}

// FailsafePort is one port that stays open.
type FailsafePort struct {
	// Protocol: TCP (default), UDP or SCTP.
	Protocol intstr.IntOrString `json:"protocol,omitempty"`
	// Port number, 1–65535.
	Port int32 `json:"port"`
	// Net restricts the peer's address to one block in CIDR form; unset means any.
	Net string `json:"net,omitempty"`
}

// LoggingSpec tunes the log of matching packets.
type LoggingSpec struct {
	// RatePerRule is the number of log lines a second and rule; default 10.
	RatePerRule *int32 `json:"ratePerRule,omitempty"`
	// Format: JSON (default) or Text.
	Format string `json:"format,omitempty"`
}

// MetricsSpec tunes the agents' metrics endpoint.
type MetricsSpec struct {
	// Port of the Prometheus endpoint; 0 turns it off; default 9477.
	Port *int32 `json:"port,omitempty"`
}

// AgentSpec says how node agents run.
type AgentSpec struct {
	// Image of the agents; default: the operator's own.
	Image string `json:"image,omitempty"`
	// Resources of the agent container.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// Tolerations of the agent pods; default: all taints.
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// NodeSelector of the agent pods; default: all Linux nodes.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
}

// TierwallStatus is the state of the installation.
type TierwallStatus struct {
	// ObservedGeneration is the generation that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Available, Progressing and Degraded.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true

// Tierwall is the singleton "default": what the operator installs and how agents behave.
type Tierwall struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TierwallSpec   `json:"spec,omitempty"`
	Status TierwallStatus `json:"status,omitempty"`
}

// +kubebuilder:object:root=true

// TierwallList is a list of Tierwall.
type TierwallList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Tierwall `json:"items"`
}
