package convert

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// Object converts one API object to the model.
//
// known is false for a kind that the core does not use. A nil obj of a known
// kind takes no part (a pod that has finished, runs on the host's network or
// has no address; an EndpointSlice of no Service; a Service; a Tierwall object
// that is not called default): the caller deletes RefOf(o) from the index.
//
// problems never stop the conversion: obj is in a form that does not widen
// access. They are in the order of the object's fields.
func Object(o runtime.Object) (obj model.Object, problems []model.Problem, known bool) {
	ref, known := RefOf(o)
	if !known {
		return nil, nil, false
	}
	r := &report{ref: ref}
	switch o := o.(type) {
	case *corev1.Pod:
		r.checkMeta(o, true)
		obj = pod(o, r)
	case *corev1.Namespace:
		r.checkMeta(o, false)
		obj = namespace(o, r)
	case *corev1.ServiceAccount:
		r.checkMeta(o, true)
		obj = serviceAccount(o, r)
	case *corev1.Node:
		r.checkMeta(o, false)
		obj = node(o, r)
	case *corev1.Service:
		// Slices say all that rules need to know about a Service.
	case *discoveryv1.EndpointSlice:
		r.checkMeta(o, true)
		obj = endpointSlice(o, r)
	case *networkingv1.NetworkPolicy:
		r.checkMeta(o, true)
		obj = nativePolicy(o, r)
	case *clusterv1alpha2.ClusterNetworkPolicy:
		r.checkMeta(o, false)
		obj = clusterNetworkPolicy(o, r)
	case *v1alpha1.Tier:
		r.checkMeta(o, false)
		obj = tier(o, r)
	case *v1alpha1.GlobalNetworkPolicy:
		r.checkMeta(o, false)
		obj = globalNetworkPolicy(o, r)
	case *v1alpha1.NetworkPolicy:
		r.checkMeta(o, true)
		obj = networkPolicy(o, r)
	case *v1alpha1.GlobalNetworkSet:
		r.checkMeta(o, false)
		obj = networkSet(o.Labels, &o.Spec, r)
	case *v1alpha1.NetworkSet:
		r.checkMeta(o, true)
		obj = networkSet(o.Labels, &o.Spec, r)
	case *v1alpha1.HostEndpoint:
		r.checkMeta(o, false)
		obj = hostEndpoint(o, r)
	case *v1alpha1.Tierwall:
		r.checkMeta(o, false)
		obj = settings(o, r)
	}
	if p, ok := obj.(*model.Policy); ok {
		p.Problems = r.list
	}
	return obj, r.list, true
}

// RefOf names an object as the core does. The result is false for nil and for
// kinds that the core does not use.
func RefOf(o runtime.Object) (model.Ref, bool) {
	switch o := o.(type) {
	case *corev1.Pod:
		if o != nil {
			return namespaced(model.KindPod, o)
		}
	case *corev1.Namespace:
		if o != nil {
			return clusterWide(model.KindNamespace, o)
		}
	case *corev1.ServiceAccount:
		if o != nil {
			return namespaced(model.KindServiceAccount, o)
		}
	case *corev1.Node:
		if o != nil {
			return clusterWide(model.KindNode, o)
		}
	case *corev1.Service:
		if o != nil {
			return namespaced(model.KindService, o)
		}
	case *discoveryv1.EndpointSlice:
		if o != nil {
			return namespaced(model.KindEndpointSlice, o)
		}
	case *networkingv1.NetworkPolicy:
		if o != nil {
			return namespaced(model.KindNetworkPolicy, o)
		}
	case *clusterv1alpha2.ClusterNetworkPolicy:
		if o != nil {
			return clusterWide(model.KindClusterNetworkPolicy, o)
		}
	case *v1alpha1.Tier:
		if o != nil {
			return clusterWide(model.KindTier, o)
		}
	case *v1alpha1.GlobalNetworkPolicy:
		if o != nil {
			return clusterWide(model.KindGlobalNetworkPolicy, o)
		}
	case *v1alpha1.NetworkPolicy:
		if o != nil {
			return namespaced(model.KindTierwallNetworkPolicy, o)
		}
	case *v1alpha1.GlobalNetworkSet:
		if o != nil {
			return clusterWide(model.KindGlobalNetworkSet, o)
		}
	case *v1alpha1.NetworkSet:
		if o != nil {
			return namespaced(model.KindNetworkSet, o)
		}
	case *v1alpha1.HostEndpoint:
		if o != nil {
			return clusterWide(model.KindHostEndpoint, o)
		}
	case *v1alpha1.Tierwall:
		if o != nil {
			return clusterWide(model.KindTierwall, o)
		}
	}
	return model.Ref{}, false
}

func namespaced(k model.Kind, m metav1.Object) (model.Ref, bool) {
	return model.Ref{Kind: k, Namespace: m.GetNamespace(), Name: m.GetName()}, true
}

// clusterWide leaves out a namespace that a file may give by mistake.
func clusterWide(k model.Kind, m metav1.Object) (model.Ref, bool) {
	return model.Ref{Kind: k, Name: m.GetName()}, true
}
