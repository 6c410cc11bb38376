package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TierwallName is the name of the only Tierwall object that takes effect.
const TierwallName = "default"

// Dataplane selects what programs the kernel.
// +kubebuilder:validation:Enum=Auto;NFTables;IPTables
type Dataplane string

const (
	// DataplaneAuto uses nftables if the node has it, and iptables otherwise.
	DataplaneAuto Dataplane = "Auto"
	// DataplaneNFTables uses nftables.
	DataplaneNFTables Dataplane = "NFTables"
	// DataplaneIPTables uses iptables and ipsets.
	DataplaneIPTables Dataplane = "IPTables"
)

// TierwallSpec holds the settings of the installation. Every default is safe.
type TierwallSpec struct {
	// Dataplane: Auto (default) uses nftables if the node has it, and iptables
	// otherwise; NFTables and IPTables force one.
	// +optional
	// +kubebuilder:default=Auto
	Dataplane Dataplane `json:"dataplane,omitempty"`
	// Failsafe ports stay open on host endpoints whatever policies say, so that
	// no policy can cut a node off.
	// +optional
	Failsafe Failsafe `json:"failsafe,omitempty,omitzero"`
	// EndpointToHostAction decides traffic from a pod to its own node after the
	// pod's egress policy: Accept (default), Drop, or Return (continue with the host endpoint's policies).
	// +optional
	// +kubebuilder:default=Accept
	EndpointToHostAction EndpointToHostAction `json:"endpointToHostAction,omitempty"`
	// UnknownWorkloads decides traffic of addresses in the node's pod CIDRs that
	// belong to no known endpoint: Deny (default) or Allow.
	// +optional
	// +kubebuilder:default=Deny
	// +kubebuilder:validation:Enum=Deny;Allow
	UnknownWorkloads Action `json:"unknownWorkloads,omitempty"`
	// PodStartup controls whether pods start only with their policy in force, on nodes
	// whose container runtime has NRI (containerd 2.1 and later): Wait (default) delays
	// the start of a pod until the kernel has its policy, for at most one and a half
	// seconds; Require fails the start after that time, and the kubelet retries; Off
	// does not use the runtime. If a pod's start does not wait, unknownWorkloads decides
	// until the kubelet has reported the pod's address.
	// +optional
	// +kubebuilder:default=Wait
	PodStartup PodStartup `json:"podStartup,omitempty"`
	// AutoHostEndpoints creates one host endpoint "*" for each node, with the node's
	// labels and addresses and defaultAction Allow; default false.
	// +optional
	AutoHostEndpoints bool `json:"autoHostEndpoints,omitempty"`
	// SourceGuard drops packets with a local pod's address as their source that do
	// not arrive by that pod's interface (on a bridge: its port): packets of pods that
	// use another pod's address, and of outside hosts that use a pod's. It applies to
	// pods if the route to the pod leads to the interface by which its packets arrive,
	// and to everything that arrives from outside. Auto (default), Enforce, Count (such
	// packets pass and are counted), Off.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	SourceGuard GuardMode `json:"sourceGuard,omitempty"`
	// LinkGuard applies pods' policies to addresses that the API does not list: what a
	// pod sends from a link-local address is subject to its egress policy, multicast
	// and broadcast to a pod to its ingress policy, and packets with any other unknown
	// source to unknownWorkloads. Of neighbour discovery, solicitations, advertisements
	// and MLD from pods pass before policy; router advertisements are subject to
	// policy, and redirects are dropped. Auto (default), Enforce, Count (such packets
	// pass, and those that policy denies are counted), Off.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	LinkGuard GuardMode `json:"linkGuard,omitempty"`
	// EncapsulationGuard drops what local pods send to cluster nodes' own addresses on
	// the ports and protocols of the tunnels (VXLAN, Geneve, IPIP and the like) that
	// their node has: with such a packet, a pod could inject any other packet into the
	// pod network. Other tunnels of pods are subject to policy only. Auto (default),
	// Enforce, Count (such packets pass and are counted), Off.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	EncapsulationGuard GuardMode `json:"encapsulationGuard,omitempty"`
	// WildcardGuard makes host endpoints with interfaceName "*" guard every interface,
	// including those that lead to local pods: what pods send to Services, to each other
	// and to their node is then subject to the doNotTrack, preDNAT and applyOnForward
	// policies of that host endpoint. Auto (default), Enforce, Count (pods' interfaces are
	// left out, and packets that would be denied are counted), Off (pods' interfaces are
	// left out).
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	WildcardGuard GuardMode `json:"wildcardGuard,omitempty"`
	// Budgets bound what the objects of a namespace may cost each node.
	// +optional
	// +kubebuilder:default={}
	Budgets BudgetsSpec `json:"budgets,omitempty,omitzero"`
	// NamespacedSets controls which rules of global policies NetworkSets count in.
	// Selected: those with a namespaceSelector on the same side that matches the set's
	// namespace. Everywhere: also those with a selector or notSelector and no
	// namespaceSelector, so that anyone who may write NetworkSets in any namespace decides
	// which addresses the rule matches. Auto (default) means the value of status.namespacedSets.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Selected;Everywhere
	NamespacedSets NamespacedSets `json:"namespacedSets,omitempty"`
	// DNS is how the addresses of names that rules speak of are learnt.
	// +optional
	// +kubebuilder:default={}
	DNS DNSSpec `json:"dns,omitempty,omitzero"`
	// Flows is how connections are recorded, kept and exported.
	// +optional
	// +kubebuilder:default={}
	Flows FlowsSpec `json:"flows,omitempty,omitzero"`
	// Marks are the bits of the packet mark that Tierwall may use, as a hexadecimal
	// number with at least two bits set; default 0x30000000. All other bits stay as
	// they are. Choose bits that neither the pod network nor other programs on the nodes
	// use; kube-proxy's (0xc000) are rejected.
	// +optional
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:Pattern=`^0x[0-9a-fA-F]{1,8}$`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^0x0*[1248]?0*$')",message="needs at least two bits"
	// +kubebuilder:validation:XValidation:rule="self.matches('^0x([0-9a-fA-F]{1,3}|[0-9a-fA-F]{0,4}[0-3][0-9a-fA-F]{3})$')",message="must not contain kube-proxy's bits 0xc000"
	Marks string `json:"marks,omitempty"`
	// Logging of rules with action Log.
	// +optional
	// +kubebuilder:default={}
	Logging LoggingSpec `json:"logging,omitempty,omitzero"`
	// Metrics of the agents.
	// +optional
	// +kubebuilder:default={}
	Metrics MetricsSpec `json:"metrics,omitempty,omitzero"`
	// Agent configures the node agents' pods.
	// +optional
	Agent AgentSpec `json:"agent,omitempty,omitzero"`
}

// BudgetsSpec bounds what the objects of a namespace may cost each node. It counts
// entries: one for each object, and one for each rule, peer, block, port and address
// that it lists.
type BudgetsSpec struct {
	// Mode controls the treatment of objects past a budget. Enforce: they deny what they
	// govern, or keep the version that is in force. Count: they are reported, but enforced
	// as written. Off: they are enforced and not reported. Auto (default) means the value
	// of status.budgets.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	Mode GuardMode `json:"mode,omitempty"`
	// Namespace is the number of entries that the policies and NetworkSets of a namespace
	// may have together; default 10000. Policies count in the order of their tiers,
	// NetworkSets right before tier default, and within a tier the oldest first.
	// +optional
	// +kubebuilder:default=10000
	// +kubebuilder:validation:Minimum=1
	Namespace *int32 `json:"namespace,omitempty"`
	// Node is the number of entries that the policies of all namespaces may have on a node,
	// counted once for each group of pods that the same policies select; default 200000. If
	// they have more, each namespace gets an equal share. Global policies do not count.
	// +optional
	// +kubebuilder:default=200000
	// +kubebuilder:validation:Minimum=1
	Node *int32 `json:"node,omitempty"`
}

// PodStartup controls what the start of a pod waits for.
// +kubebuilder:validation:Enum=Wait;Require;Off
type PodStartup string

const (
	// PodStartupWait delays the start until the pod's policy is in force, for a bounded time.
	PodStartupWait PodStartup = "Wait"
	// PodStartupRequire fails the start after that time.
	PodStartupRequire PodStartup = "Require"
	// PodStartupOff does not use the container runtime.
	PodStartupOff PodStartup = "Off"
)

// EndpointToHostAction decides traffic from a pod to its own node.
// +kubebuilder:validation:Enum=Accept;Drop;Return
type EndpointToHostAction string

const (
	// EndpointToHostAccept allows it.
	EndpointToHostAccept EndpointToHostAction = "Accept"
	// EndpointToHostDrop drops it.
	EndpointToHostDrop EndpointToHostAction = "Drop"
	// EndpointToHostReturn leaves the decision to the host endpoint's policies.
	// EndpointToHostReturn leaves it to the host endpoint's policy.
	EndpointToHostReturn EndpointToHostAction = "Return"
)

// Failsafe lists ports that stay open on host endpoints. A nil list means the
// built-in defaults, an empty one no ports at all.
type Failsafe struct {
	// Inbound ports of the host, at most 256; unset means TCP 22, 179, 2379, 2380,
	// 5473, 6443, 6666, 6667, 10250 and UDP 68, 546; an empty list means none.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Inbound *[]FailsafePort `json:"inbound,omitempty"`
	// Outbound ports of remote peers, at most 256; unset means UDP 53, 67, 547 and
	// TCP 179, 2379, 2380, 5473, 6443, 6666, 6667; an empty list means none.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Outbound *[]FailsafePort `json:"outbound,omitempty"`
	// Tunnels keeps the pod network open: between addresses of cluster nodes, the
	// encapsulated traffic (protocol and port) of the tunnels that a node has passes
	// the policies of its host endpoints in both directions. The packets inside are
	// subject to pods' policies as usual. Default true; with false, host endpoints'
	// policies decide.
	// +optional
	// +kubebuilder:default=true
	Tunnels *bool `json:"tunnels,omitempty"`
}

// FailsafePort is one port that stays open.
type FailsafePort struct {
	// Protocol: TCP (default), UDP or SCTP, or its IANA number.
	// +optional
	// +kubebuilder:default=TCP
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) in [int] ? self in [6, 17, 132] : self in ['TCP', 'UDP', 'SCTP', 'tcp', 'udp', 'sctp']",message="must be TCP, UDP or SCTP"
	Protocol intstr.IntOrString `json:"protocol,omitempty,omitzero"`
	// Port number, 1–65535.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// Net restricts the peer's address to one block in CIDR form, or one address;
	// empty means any.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.size() == 0 || isCIDR(self) || isIP(self)",message="must be an address block in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32, or an address"
	Net string `json:"net,omitempty"`
}

// LoggingSpec configures the log of matching packets.
type LoggingSpec struct {
	// RatePerRule is the number of log lines per second and rule, 0–10,000;
	// 0 means none; default 10.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	RatePerRule *int32 `json:"ratePerRule,omitempty"`
	// RatePerNode is the number of log lines per second of all rules of a node together,
	// 1–100,000; default 1,000. Rules of namespaced policies get at most half of them.
	// +optional
	// +kubebuilder:default=1000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	RatePerNode *int32 `json:"ratePerNode,omitempty"`
	// Format: JSON (default) or Text.
	// +optional
	// +kubebuilder:default=JSON
	// +kubebuilder:validation:Enum=JSON;Text
	Format string `json:"format,omitempty"`
}

// MetricsAccess controls what is required to read the agents' metrics.
// +kubebuilder:validation:Enum=Authenticated;Loopback;Open
type MetricsAccess string

const (
	// MetricsAuthenticated serves metrics with TLS, and requires the token of a user of
	// the cluster who may get /metrics.
	MetricsAuthenticated MetricsAccess = "Authenticated"
	// MetricsLoopback serves metrics only on the node's loopback address, without
	// TLS, to everything on the node's network.
	MetricsLoopback MetricsAccess = "Loopback"
	// MetricsOpen serves metrics without TLS to everyone who can reach the node's port.
	MetricsOpen MetricsAccess = "Open"
)

// MetricsSpec configures the agents' metrics endpoint.
type MetricsSpec struct {
	// Access controls what is required to read the metrics: Authenticated (TLS, and the
	// token of a user who may get the nonResourceURL /metrics), Loopback (access to the
	// node's network) or Open (nothing); default Authenticated.
	// +optional
	// +kubebuilder:default=Authenticated
	Access MetricsAccess `json:"access,omitempty"`
	// Port of the Prometheus endpoint, 1–65535; default 9477. 0 means access Loopback
	// on the default port.
	// +optional
	// +kubebuilder:default=9477
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
}

// AgentSpec configures the node agents' pods.
type AgentSpec struct {
	// Image of the agents; empty means the operator's own.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`
	// Resources of the agent container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty,omitzero"`
	// Tolerations of the agent pods; empty means that all taints are tolerated.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// NodeSelector of the agent pods; empty means all Linux nodes.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
}

// TierwallStatus is the state of the installation.
type TierwallStatus struct {
	// ObservedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Guards is the meaning of Auto for the guards of this installation: Enforce, or Count
	// if it was upgraded from a version without guards. The operator sets it once.
	// +optional
	// +kubebuilder:validation:Enum=Enforce;Count
	Guards GuardMode `json:"guards,omitempty"`
	// Budgets is the meaning of Auto for spec.budgets in this installation: Enforce, or
	// Count if it was upgraded from a version without budgets. The operator sets it once.
	// +optional
	// +kubebuilder:validation:Enum=Enforce;Count
	Budgets GuardMode `json:"budgets,omitempty"`
	// NamespacedSets is the meaning of Auto for spec.namespacedSets in this installation:
	// Selected, or Everywhere if it was upgraded from a version without the setting.
	// The operator sets it once.
	// +optional
	// +kubebuilder:validation:Enum=Selected;Everywhere
	NamespacedSets NamespacedSets `json:"namespacedSets,omitempty"`
	// Conditions are Available, Progressing, Degraded, GuardsEnforced, TunnelFailsafe,
	// BudgetsEnforced and NamespacedSetsSelected.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=tierwalls,scope=Cluster,shortName=tw,categories=tierwall-io
// +kubebuilder:printcolumn:name="Dataplane",type=string,JSONPath=`.spec.dataplane`
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`
// +kubebuilder:printcolumn:name="Degraded",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="metadata.name must be default: there is only one Tierwall object"

// Tierwall holds the settings of the installation and of its agents. There is one object, named "default".
type Tierwall struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is the desired state.
	// +optional
	// +kubebuilder:default={}
	Spec TierwallSpec `json:"spec,omitempty"`
	// Status is the observed state.
	// +optional
	Status TierwallStatus `json:"status,omitempty,omitzero"`
}

// +kubebuilder:object:root=true

// TierwallList is a list of Tierwall.
type TierwallList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Tierwall `json:"items"`
}
