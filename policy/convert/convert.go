package convert

import (
	"cmp"

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
	case *v1alpha1.NodeReport:
		r.checkMeta(o, false)
		obj = nodeLinks(o, r)
	case *Ghost:
		obj = ghost(o)
	}
	if p, ok := obj.(*model.Policy); ok {
		p.Problems, p.Entries = r.list, Entries(o)
		if m, ok := o.(metav1.Object); ok && !m.GetCreationTimestamp().Time.IsZero() {
			p.Created = m.GetCreationTimestamp().Unix()
		}
	}
	return obj, r.list, true
}

// calicoGroup is the group in the TypeMeta of a translated policy whose name another
// policy has in another tier (translate.Qualify). Objects of the API never have it:
// they are decoded from tierwall.io.
const calicoGroup = "projectcalico.org"

// RefOf names an object as the core does. The result is false for nil and for
// kinds that the core does not use.
func RefOf(o runtime.Object) (model.Ref, bool) {
	switch o := o.(type) {
	case *corev1.Pod:
		return namespaced(model.KindPod, o, o != nil)
	case *corev1.Namespace:
		return clusterWide(model.KindNamespace, o, o != nil)
	case *corev1.ServiceAccount:
		return namespaced(model.KindServiceAccount, o, o != nil)
	case *corev1.Node:
		return clusterWide(model.KindNode, o, o != nil)
	case *corev1.Service:
		return namespaced(model.KindService, o, o != nil)
	case *discoveryv1.EndpointSlice:
		return namespaced(model.KindEndpointSlice, o, o != nil)
	case *networkingv1.NetworkPolicy:
		return namespaced(model.KindNetworkPolicy, o, o != nil)
	case *clusterv1alpha2.ClusterNetworkPolicy:
		return clusterWide(model.KindClusterNetworkPolicy, o, o != nil)
	case *v1alpha1.Tier:
		return clusterWide(model.KindTier, o, o != nil)
	case *v1alpha1.GlobalNetworkPolicy:
		if o != nil && o.GroupVersionKind().Group == calicoGroup {
			return model.Ref{Kind: model.KindCalicoGlobalNetworkPolicy, Name: model.TierName(tierOf(o.Spec.Tier), o.Name)}, true
		}
		return clusterWide(model.KindGlobalNetworkPolicy, o, o != nil)
	case *v1alpha1.NetworkPolicy:
		if o != nil && o.GroupVersionKind().Group == calicoGroup {
			return model.Ref{Kind: model.KindCalicoNetworkPolicy, Namespace: o.Namespace, Name: model.TierName(tierOf(o.Spec.Tier), o.Name)}, true
		}
		return namespaced(model.KindTierwallNetworkPolicy, o, o != nil)
	case *v1alpha1.GlobalNetworkSet:
		return clusterWide(model.KindGlobalNetworkSet, o, o != nil)
	case *v1alpha1.NetworkSet:
		return namespaced(model.KindNetworkSet, o, o != nil)
	case *v1alpha1.HostEndpoint:
		return clusterWide(model.KindHostEndpoint, o, o != nil)
	case *v1alpha1.Tierwall:
		return clusterWide(model.KindTierwall, o, o != nil)
	case *v1alpha1.NodeReport:
		return clusterWide(model.KindNodeLinks, o, o != nil)
	case *Ghost:
		if o == nil {
			return model.Ref{}, false
		}
		return o.Ref(), true
	}
	return model.Ref{}, false
}

// namespaced names an object in a namespace; there is false for a nil pointer.
func namespaced(k model.Kind, m metav1.Object, there bool) (model.Ref, bool) {
	if !there {
		return model.Ref{}, false
	}
	return model.Ref{Kind: k, Namespace: m.GetNamespace(), Name: m.GetName()}, true
}

// clusterWide leaves out a namespace that a file may give by mistake.
func clusterWide(k model.Kind, m metav1.Object, there bool) (model.Ref, bool) {
	if !there {
		return model.Ref{}, false
	}
	return model.Ref{Kind: k, Name: m.GetName()}, true
}

// PolicyTier is the tier of a Tierwall policy; false for all other objects.
func PolicyTier(o runtime.Object) (string, bool) {
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		return tierOf(o.Spec.Tier), true
	case *v1alpha1.NetworkPolicy:
		return tierOf(o.Spec.Tier), true
	}
	return "", false
}

func tierOf(tier string) string { return cmp.Or(tier, v1alpha1.DefaultTier) }
