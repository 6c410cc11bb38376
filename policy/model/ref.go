package model

import (
	"cmp"
	"fmt"
	"strings"
)

// Kind names a kind of object in human-readable form.
type Kind string

// The kinds that the core knows. KindNetworkPolicy is the native one.
const (
	KindTier                  Kind = "Tier"
	KindGlobalNetworkPolicy   Kind = "GlobalNetworkPolicy"
	KindNetworkPolicy         Kind = "NetworkPolicy"
	KindTierwallNetworkPolicy Kind = "NetworkPolicy.tierwall.io"
	KindClusterNetworkPolicy  Kind = "ClusterNetworkPolicy"
	// KindCalicoGlobalNetworkPolicy and KindCalicoNetworkPolicy are policies translated
	// from projectcalico.org while another policy with their name is in another tier.
	// The Name of such a Ref is that of TierName.
	KindCalicoGlobalNetworkPolicy Kind = "GlobalNetworkPolicy.projectcalico.org"
	KindCalicoNetworkPolicy       Kind = "NetworkPolicy.projectcalico.org"
	KindGlobalNetworkSet          Kind = "GlobalNetworkSet"
	KindNetworkSet                Kind = "NetworkSet"
	KindHostEndpoint              Kind = "HostEndpoint"
	KindPod                       Kind = "Pod"
	KindNode                      Kind = "Node"
	KindNamespace                 Kind = "Namespace"
	KindServiceAccount            Kind = "ServiceAccount"
	KindService                   Kind = "Service"
	KindEndpointSlice             Kind = "EndpointSlice"
	KindTierwall                  Kind = "Tierwall"
	// KindNodeLinks is Links; in the API it is part of a NodeReport.
	KindNodeLinks Kind = "NodeReport"
	// KindPodGhost is a pod whose object is gone and whose sandbox may still be
	// running; it is not an object of the API. Its name is that of GhostRef. It sorts
	// after KindPod, so that a pod precedes it wherever the first of several counts.
	KindPodGhost Kind = "PodGhost"
	// KindGuard is one of the Guards, by its GuardName; it is not an object of the API.
	KindGuard Kind = "Guard"
	// KindInterface is an interface of a node; it is not an object of the API.
	KindInterface Kind = "Interface"
)

// InterfaceRef names an interface of a node, as in Interface/node-a/eth0. An empty name
// stands for an unknown interface that does not lead to a pod.
func InterfaceRef(node, name string) Ref {
	return Ref{Kind: KindInterface, Namespace: node, Name: name}
}

// Ref names one object. The zero Ref names none.
type Ref struct {
	Kind      Kind
	Namespace string // empty for cluster-scoped kinds
	Name      string
}

// TierName is the name of a policy together with its tier, for a Ref of one of the
// Calico kinds. No object of the API can have such a name, because ":" is not allowed
// in names.
func TierName(tier, name string) string { return tier + ":" + name }

// ofObject is the Ref that a policy of one of the Calico kinds would have if no other
// policy had its name.
func (r Ref) ofObject() Ref {
	switch r.Kind {
	case KindCalicoGlobalNetworkPolicy:
		r.Kind = KindGlobalNetworkPolicy
	case KindCalicoNetworkPolicy:
		r.Kind = KindTierwallNetworkPolicy
	default:
		return r
	}
	if _, name, ok := strings.Cut(r.Name, ":"); ok {
		r.Name = name
	}
	return r
}

// IsPolicy reports whether objects of the kind are policies.
func (k Kind) IsPolicy() bool {
	switch k {
	case KindGlobalNetworkPolicy, KindTierwallNetworkPolicy, KindNetworkPolicy, KindClusterNetworkPolicy,
		KindCalicoGlobalNetworkPolicy, KindCalicoNetworkPolicy:
		return true
	}
	return false
}

// String is Kind/name or Kind/namespace/name.
func (r Ref) String() string {
	if r == (Ref{}) {
		return ""
	}
	if r.Namespace == "" {
		return string(r.Kind) + "/" + r.Name
	}
	return string(r.Kind) + "/" + r.Namespace + "/" + r.Name
}

// GhostRef names the ghost of a pod, whose name may already belong to another pod.
func GhostRef(namespace, name, uid string) Ref {
	return Ref{Kind: KindPodGhost, Namespace: namespace, Name: name + "@" + uid}
}

// GhostOf names the pod of a ghost; ok is false for any other Ref.
func (r Ref) GhostOf() (pod Ref, ok bool) {
	name, _, _ := strings.Cut(r.Name, "@")
	if r.Kind != KindPodGhost {
		return Ref{}, false
	}
	return Ref{Kind: KindPod, Namespace: r.Namespace, Name: name}, true
}

// ParseRef reads what String writes.
func ParseRef(s string) (Ref, error) {
	switch parts := strings.Split(s, "/"); {
	case len(parts) == 2 && parts[0] != "" && parts[1] != "":
		return Ref{Kind: Kind(parts[0]), Name: parts[1]}, nil
	case len(parts) == 3 && parts[0] != "" && parts[1] != "" && parts[2] != "":
		return Ref{Kind: Kind(parts[0]), Namespace: parts[1], Name: parts[2]}, nil
	}
	return Ref{}, fmt.Errorf("%q is neither Kind/name nor Kind/namespace/name", s)
}

// Compare orders refs by kind, namespace and name.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// MarshalText makes refs strings in JSON and YAML.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (r *Ref) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*r = Ref{}
		return nil
	}
	p, err := ParseRef(string(b))
	if err != nil {
		return err
	}
	*r = p
	return nil
}
