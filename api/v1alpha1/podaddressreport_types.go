package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Bounds of a PodAddressReport.
const (
	// MaxStartedPods is how many pods a report lists. A node that starts more at
	// a time leaves the others to the kubelet's report.
	MaxStartedPods = 1000
	// MaxPodAddresses is how many addresses of a pod count.
	MaxPodAddresses = 8
)

// StartedPod is a pod that has its addresses, though its status does not say so yet.
type StartedPod struct {
	// Namespace of the pod.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// Name of the pod.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// UID of the pod: one of another UID is another pod.
	// +required
	// +kubebuilder:validation:MaxLength=128
	UID string `json:"uid"`
	// IPs of the pod, at most 8, without a block's length.
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
// that its container runtime has given them, before the kubelet says them in the
// status of the pods. The node's agent writes it, under the node's name, and all
// agents read it, so that the first packet of a new pod is known for what it is
// on every node. A pod is in it for some seconds. People have no use for it. It
// is gone with its Node.
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
