package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Bounds of a PodAddressReport.
const (
	// MaxStartedPods is how many pods a report lists. If a node starts more at a
	// time, the kubelet's report announces the others.
	MaxStartedPods = 1000
	// MaxPodAddresses is how many addresses of a pod count.
	MaxPodAddresses = 8
)

// StartedPod is a pod that already has its addresses, but not yet in its status.
type StartedPod struct {
	// Namespace of the pod.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// Name of the pod.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// UID of the pod: a pod with another UID is another pod.
	// +required
	// +kubebuilder:validation:MaxLength=128
	UID string `json:"uid"`
	// IPs of the pod, at most 8, without prefix lengths.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=45
	IPs []string `json:"ips"`
}

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=tierwall-io
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// PodAddressReport names the pods that a node is starting, with the addresses
// that its container runtime has assigned, before the kubelet reports them in the
// status of the pods. The node's agent writes it, under the node's name, and all
// agents read it, so that every node can identify the sender of a new pod's first
// packet. A pod is listed for a few seconds. Users have no use for it. It is
// deleted with its Node.
type PodAddressReport struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Pods that have started, at most 1000. Readers ignore one that is not on the
	// node of the report, one whose status has addresses, and addresses that
	// belong to others.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Pods []StartedPod `json:"pods,omitempty"`
}

// +kubebuilder:object:root=true

// PodAddressReportList is a list of PodAddressReport.
type PodAddressReportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PodAddressReport `json:"items"`
}
