package convert

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

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
	if g, ok := o.(*Ghost); ok {
		return ghost(g), nil, true
	}
	k := kindOfObject(o)
	r.checkMeta(o.(metav1.Object), k.Namespaced)
	obj = k.convert(o, r)
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
	if g, ok := o.(*Ghost); ok {
		if g == nil {
			return model.Ref{}, false
		}
		return g.Ref(), true
	}
	k := kindOfObject(o)
	if k == nil {
		return model.Ref{}, false
	}
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		if o.GroupVersionKind().Group == calicoGroup {
			return model.Ref{Kind: model.KindCalicoGlobalNetworkPolicy, Name: model.TierName(tierOf(o.Spec.Tier), o.Name)}, true
		}
	case *v1alpha1.NetworkPolicy:
		if o.GroupVersionKind().Group == calicoGroup {
			return model.Ref{Kind: model.KindCalicoNetworkPolicy, Namespace: o.Namespace, Name: model.TierName(tierOf(o.Spec.Tier), o.Name)}, true
		}
	}
	m := o.(metav1.Object)
	r := model.Ref{Kind: k.Ref, Name: m.GetName()}
	if k.Namespaced { // else a namespace that a file gives is a mistake
		r.Namespace = m.GetNamespace()
	}
	return r, true
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
