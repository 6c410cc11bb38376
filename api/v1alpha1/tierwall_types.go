package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TierwallName is the name of the one Tierwall object that counts.
const TierwallName = "default"

// Dataplane says what programs the kernel.
// +kubebuilder:validation:Enum=Auto;NFTables;IPTables
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
	// Dataplane: Auto (default) takes nftables where the node has it and iptables
	// elsewhere; NFTables and IPTables insist.
	// +optional
	// +kubebuilder:default=Auto
	Dataplane Dataplane `json:"dataplane,omitempty"`
	// Failsafe ports stay open on host endpoints whatever policies say, so that
	// no policy can cut a node off.
	// +optional
	Failsafe Failsafe `json:"failsafe,omitempty,omitzero"`
	// EndpointToHostAction decides traffic from a pod to its own node after the
	// pod's egress policy: Accept (default), Drop, or Return (go on to the host endpoint's policy).
	// +optional
	// +kubebuilder:default=Accept
	EndpointToHostAction EndpointToHostAction `json:"endpointToHostAction,omitempty"`
	// UnknownWorkloads decides traffic of addresses in the node's pod CIDRs that
	// belong to no known endpoint: Deny (default) or Allow.
	// +optional
	// +kubebuilder:default=Deny
	// +kubebuilder:validation:Enum=Deny;Allow
	UnknownWorkloads Action `json:"unknownWorkloads,omitempty"`
	// PodStartup says whether pods start with their policy in force, on nodes whose
	// container runtime has NRI (containerd 2.1 and later): Wait (default) holds the
	// start of a pod until the kernel has its policy, for a second and a half at
	// most; Require has it fail then, and the kubelet try again; Off asks no runtime.
	// Where a pod's start does not wait, unknownWorkloads decides until the kubelet
	// has reported its address.
	// +optional
	// +kubebuilder:default=Wait
	PodStartup PodStartup `json:"podStartup,omitempty"`
	// AutoHostEndpoints makes one host endpoint "*" a node, with the node's
	// labels and addresses and defaultAction Allow; default false.
	// +optional
	AutoHostEndpoints bool `json:"autoHostEndpoints,omitempty"`
	// SourceGuard drops packets that bear a local pod's address as their source and
	// do not come by that pod's interface (on a bridge: its port): pods that use
	// another's address, and outsiders that use a pod's. It holds where the route to a
	// pod leads to the interface that its packets come by, and for everything that
	// comes in from outside. Auto (default), Enforce, Count (such packets pass and are
	// counted), Off.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	SourceGuard GuardMode `json:"sourceGuard,omitempty"`
	// LinkGuard applies pods' policies to addresses that the API does not list: what a
	// pod sends from a link-local address is subject to its egress policy, multicast
	// and broadcast to a pod to its ingress policy, and what bears another unknown
	// source to unknownWorkloads. Of neighbour discovery, pods may send solicitations,
	// advertisements and MLD before policy; router advertisements are subject to
	// policy, and redirects are dropped. Auto (default), Enforce, Count (such packets
	// pass and those that policy denies are counted), Off.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	LinkGuard GuardMode `json:"linkGuard,omitempty"`
	// EncapsulationGuard drops what local pods send to cluster nodes' own addresses on
	// the ports and protocols of the tunnels (VXLAN, Geneve, IPIP and the like) that
	// their node has: with such a packet a pod could put any other packet into the pod
	// network. Other tunnels of pods are subject to policy only. Auto (default),
	// Enforce, Count (such packets pass and are counted), Off.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	EncapsulationGuard GuardMode `json:"encapsulationGuard,omitempty"`
	// WildcardGuard has host endpoints with interfaceName "*" guard every interface,
	// those that lead to local pods too: what pods send to Services, to each other and
	// to their node then meets the doNotTrack, preDNAT and applyOnForward policies of
	// that host endpoint. Auto (default), Enforce, Count (pods' interfaces are left out,
	// and packets that would be denied are counted), Off (pods' interfaces are left out).
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	WildcardGuard GuardMode `json:"wildcardGuard,omitempty"`
	// Budgets bound what the objects of a namespace may cost each node.
	// +optional
	// +kubebuilder:default={}
	Budgets BudgetsSpec `json:"budgets,omitempty,omitzero"`
	// NamespacedSets is in which rules of global policies NetworkSets count. Selected:
	// where a namespaceSelector on the same side of the rule matches their namespace.
	// Everywhere: also where a rule has a selector or notSelector and no
	// namespaceSelector, so that whoever may write NetworkSets in any namespace decides
	// which addresses it means. Auto (default) is what status.namespacedSets has.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Selected;Everywhere
	NamespacedSets NamespacedSets `json:"namespacedSets,omitempty"`
	// DNS is how the addresses of names that rules speak of are learnt.
	// +optional
	// +kubebuilder:default={}
	DNS DNSSpec `json:"dns,omitempty,omitzero"`
	// Marks are the bits of the packet mark that Tierwall may use, as a hexadecimal
	// number with at least two bits set; default 0x30000000. All other bits stay as
	// they are. Choose bits that neither the pod network nor others on the nodes use;
	// kube-proxy's (0xc000) are refused.
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
	// Agent is how the node agents run.
	// +optional
	Agent AgentSpec `json:"agent,omitempty,omitzero"`
}

// BudgetsSpec bounds what the objects of a namespace may cost each node. It counts
// entries: one for each object, and one for each rule, peer, block, port and address
// that it lists.
type BudgetsSpec struct {
	// Mode is what becomes of objects past a budget. Enforce: they deny what they govern,
	// or keep the form that is in force. Count: they are reported, and enforced all the
	// same. Off: neither. Auto (default) is what status.budgets has.
	// +optional
	// +kubebuilder:default=Auto
	// +kubebuilder:validation:Enum=Auto;Enforce;Count;Off
	Mode GuardMode `json:"mode,omitempty"`
	// Namespace is how many entries the policies and NetworkSets of a namespace may have
	// together; default 10000. Policies count in the order of their tiers, NetworkSets right
	// before tier default, and of one tier the oldest first.
	// +optional
	// +kubebuilder:default=10000
	// +kubebuilder:validation:Minimum=1
	Namespace *int32 `json:"namespace,omitempty"`
	// Node is how many entries the policies of namespaces may have on a node, where those
	// of each group of pods that the same policies select count; default 200000. Where
	// they have more, each namespace may have an equal share. Global policies do not count.
	// +optional
	// +kubebuilder:default=200000
	// +kubebuilder:validation:Minimum=1
	Node *int32 `json:"node,omitempty"`
}

// PodStartup says what the start of a pod waits for.
// +kubebuilder:validation:Enum=Wait;Require;Off
type PodStartup string

const (
	// PodStartupWait holds the start until the pod's policy is in force, for a bounded time.
	PodStartupWait PodStartup = "Wait"
	// PodStartupRequire has it fail when that time is over.
	PodStartupRequire PodStartup = "Require"
	// PodStartupOff asks no container runtime.
	PodStartupOff PodStartup = "Off"
)

// EndpointToHostAction decides traffic from a pod to its own node.
// +kubebuilder:validation:Enum=Accept;Drop;Return
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
	// the policies of its host endpoints in both directions. What is inside is
	// subject to pods' policies as ever. Default true; false leaves it to host
	// endpoints' policies.
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

// LoggingSpec tunes the log of matching packets.
type LoggingSpec struct {
	// RatePerRule is the number of log lines a second and rule, 0–10,000;
	// 0 means none; default 10.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	RatePerRule *int32 `json:"ratePerRule,omitempty"`
	// RatePerNode is the number of log lines a second of all rules of a node together,
	// 1–100,000; default 1,000. Rules of policies in namespaces have half of them at most.
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

// MetricsAccess says what it takes to read the agents' metrics.
// +kubebuilder:validation:Enum=Authenticated;Loopback;Open
type MetricsAccess string

const (
	// MetricsAuthenticated serves metrics with TLS, to whoever bears the token of a
	// user of the cluster who may get /metrics.
	MetricsAuthenticated MetricsAccess = "Authenticated"
	// MetricsLoopback serves metrics on the node's loopback address alone, without
	// TLS, to whatever runs on the node's network.
	MetricsLoopback MetricsAccess = "Loopback"
	// MetricsOpen serves metrics to everybody who reaches the node's port, without TLS.
	MetricsOpen MetricsAccess = "Open"
)

// MetricsSpec tunes the agents' metrics endpoint.
type MetricsSpec struct {
	// Access says what it takes to read the metrics: Authenticated (TLS, and the
	// token of a user who may get the nonResourceURL /metrics), Loopback (to be on
	// the node's network) or Open (nothing); default Authenticated.
	// +optional
	// +kubebuilder:default=Authenticated
	Access MetricsAccess `json:"access,omitempty"`
	// Port of the Prometheus endpoint, 1–65535; default 9477. 0 is Access Loopback on
	// the default port.
	// +optional
	// +kubebuilder:default=9477
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
}

// AgentSpec says how node agents run.
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
	// ObservedGeneration is the generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Guards is what Auto means for the guards of this installation: Enforce, or Count
	// where it was upgraded from a version without guards. The operator sets it once.
	// +optional
	// +kubebuilder:validation:Enum=Enforce;Count
	Guards GuardMode `json:"guards,omitempty"`
	// Budgets is what Auto means for spec.budgets in this installation: Enforce, or Count
	// where it was upgraded from a version without budgets. The operator sets it once.
	// +optional
	// +kubebuilder:validation:Enum=Enforce;Count
	Budgets GuardMode `json:"budgets,omitempty"`
	// NamespacedSets is what Auto means for spec.namespacedSets in this installation:
	// Selected, or Everywhere where it was upgraded from a version without the setting.
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
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="there is one Tierwall object and its name is default"

// Tierwall is the singleton "default": what the operator installs and how agents behave.
type Tierwall struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec is what people write.
	// +optional
	// +kubebuilder:default={}
	Spec TierwallSpec `json:"spec,omitempty"`
	// Status is what Tierwall reports.
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
