package convert

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// Kind is a kind of API objects that the core takes. Whatever reads objects reads these.
type Kind struct {
	schema.GroupVersionKind
	// Resource is the plural name in URLs and permissions.
	Resource   string
	Namespaced bool
	// Ref is the kind's name in references.
	Ref model.Kind
	// New returns an empty object.
	New func() runtime.Object

	convert func(runtime.Object, *report) model.Object
}

// The kinds, each called like its resource.
var (
	Namespaces      = kindOf(corev1.SchemeGroupVersion, "Namespace", "namespaces", model.KindNamespace, namespace)
	Nodes           = kindOf(corev1.SchemeGroupVersion, "Node", "nodes", model.KindNode, node)
	ServiceAccounts = kindOf(corev1.SchemeGroupVersion, "ServiceAccount", "serviceaccounts", model.KindServiceAccount, serviceAccount).inNamespace()
	Pods            = kindOf(corev1.SchemeGroupVersion, "Pod", "pods", model.KindPod, pod).inNamespace()
	Services        = kindOf(corev1.SchemeGroupVersion, "Service", "services", model.KindService, service).inNamespace()
	EndpointSlices  = kindOf(discoveryv1.SchemeGroupVersion, "EndpointSlice", "endpointslices", model.KindEndpointSlice, endpointSlice).inNamespace()

	NativePolicies         = kindOf(networkingv1.SchemeGroupVersion, "NetworkPolicy", "networkpolicies", model.KindNetworkPolicy, nativePolicy).inNamespace()
	ClusterNetworkPolicies = kindOf(schema.GroupVersion{Group: clusterv1alpha2.GroupName, Version: "v1alpha2"}, "ClusterNetworkPolicy", "clusternetworkpolicies", model.KindClusterNetworkPolicy, clusterNetworkPolicy)

	Tierwalls             = kindOf(v1alpha1.GroupVersion, "Tierwall", "tierwalls", model.KindTierwall, settings)
	Tiers                 = kindOf(v1alpha1.GroupVersion, "Tier", "tiers", model.KindTier, tier)
	GlobalNetworkSets     = kindOf(v1alpha1.GroupVersion, "GlobalNetworkSet", "globalnetworksets", model.KindGlobalNetworkSet, globalNetworkSet)
	NetworkSets           = kindOf(v1alpha1.GroupVersion, "NetworkSet", "networksets", model.KindNetworkSet, namespacedNetworkSet).inNamespace()
	HostEndpoints         = kindOf(v1alpha1.GroupVersion, "HostEndpoint", "hostendpoints", model.KindHostEndpoint, hostEndpoint)
	GlobalNetworkPolicies = kindOf(v1alpha1.GroupVersion, "GlobalNetworkPolicy", "globalnetworkpolicies", model.KindGlobalNetworkPolicy, globalNetworkPolicy)
	NetworkPolicies       = kindOf(v1alpha1.GroupVersion, "NetworkPolicy", "networkpolicies", model.KindTierwallNetworkPolicy, networkPolicy).inNamespace()
	NodeReports           = kindOf(v1alpha1.GroupVersion, "NodeReport", "nodereports", model.KindNodeLinks, nodeLinks)
)

// table has each kind once.
var table = []Kind{
	Namespaces, Nodes, ServiceAccounts, Pods, Services, EndpointSlices,
	NativePolicies, ClusterNetworkPolicies,
	Tierwalls, Tiers, GlobalNetworkSets, NetworkSets, HostEndpoints, GlobalNetworkPolicies, NetworkPolicies, NodeReports,
}

// kindOf is a cluster-wide kind.
func kindOf[T any, P interface {
	*T
	runtime.Object
	metav1.Object
}](gv schema.GroupVersion, name, resource string, ref model.Kind, convert func(P, *report) model.Object) Kind {
	return Kind{
		GroupVersionKind: gv.WithKind(name), Resource: resource, Ref: ref,
		New:     func() runtime.Object { return P(new(T)) },
		convert: func(o runtime.Object, r *report) model.Object { return convert(o.(P), r) },
	}
}

func (k Kind) inNamespace() Kind {
	k.Namespaced = true
	return k
}

// Kinds returns all kinds; those that others refer to come first.
func Kinds() []Kind { return table }

// kindByType finds the entries of table.
var kindByType = func() map[reflect.Type]*Kind {
	out := make(map[reflect.Type]*Kind, len(table))
	for i := range table {
		out[reflect.TypeOf(table[i].New())] = &table[i]
	}
	return out
}()

// kindOfObject is the kind of an object; nil for one that the core does not take, and
// for a nil pointer.
func kindOfObject(o runtime.Object) *Kind {
	k := kindByType[reflect.TypeOf(o)]
	if k == nil || reflect.ValueOf(o).IsNil() {
		return nil
	}
	return k
}
