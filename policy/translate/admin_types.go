package translate

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// adminNetworkPolicy is an AdminNetworkPolicy or BaselineAdminNetworkPolicy of
// policy.networking.k8s.io/v1alpha1. Fields of both, and of the API's earlier
// releases, are here, so that none is taken for a slip.
type adminNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Priority *int32       `json:"priority,omitempty"`
		Subject  adminSubject `json:"subject"`
		Ingress  []adminRule  `json:"ingress,omitempty"`
		Egress   []adminRule  `json:"egress,omitempty"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type adminSubject struct {
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	Pods       *adminPods            `json:"pods,omitempty"`
}

type adminRule struct {
	Name   string       `json:"name,omitempty"`
	Action string       `json:"action"`
	From   []adminPeer  `json:"from,omitempty"`
	To     []adminPeer  `json:"to,omitempty"`
	Ports  *[]adminPort `json:"ports,omitempty"`
}

// adminPeer is one peer; exactly one field is set.
type adminPeer struct {
	Namespaces  *adminNamespaces      `json:"namespaces,omitempty"`
	Pods        *adminPods            `json:"pods,omitempty"`
	Nodes       *metav1.LabelSelector `json:"nodes,omitempty"`
	Networks    []string              `json:"networks,omitempty"`
	DomainNames []string              `json:"domainNames,omitempty"`
}

// adminNamespaces is a label selector, or in earlier releases one of three
// ways to select namespaces.
type adminNamespaces struct {
	metav1.LabelSelector `json:",inline"`

	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	SameLabels        []string              `json:"sameLabels,omitempty"`
	NotSameLabels     []string              `json:"notSameLabels,omitempty"`
}

// adminPods is a pair of label selectors. In earlier releases its namespaces
// were selected by adminNamespaces.
type adminPods struct {
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	Namespaces        *adminNamespaces     `json:"namespaces,omitempty"`
	PodSelector       metav1.LabelSelector `json:"podSelector"`
}

// adminPort is one port; exactly one field is set.
type adminPort struct {
	PortNumber *struct {
		Protocol string `json:"protocol,omitempty"`
		Port     int32  `json:"port"`
	} `json:"portNumber,omitempty"`
	NamedPort *string `json:"namedPort,omitempty"`
	PortRange *struct {
		Protocol string `json:"protocol,omitempty"`
		Start    int32  `json:"start"`
		End      int32  `json:"end"`
	} `json:"portRange,omitempty"`
}

// adminKinds are the kinds that ClusterNetworkPolicy has replaced.
var adminKinds = map[string]func() foreign{
	"AdminNetworkPolicy":         func() foreign { return &adminNetworkPolicy{} },
	"BaselineAdminNetworkPolicy": func() foreign { return &adminNetworkPolicy{} },
}

func (o *adminNetworkPolicy) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
