package cluster

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"hash/maphash"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/translate"
)

// digestOf returns how objects of a kind are read.
func digestOf(k *kind) digest {
	if k.custom() {
		return func(raw runtime.Object) (func() (any, error), uint64, bool) { return readCustom(k, raw) }
	}
	var h hasher
	return func(raw runtime.Object) (func() (any, error), uint64, bool) {
		o, part := lean(raw)
		if !part {
			return nil, 0, false
		}
		m, ok := o.(marshaler)
		if !ok {
			return nil, 0, false
		}
		return func() (any, error) { return o, nil }, h.hash(m), true
	}
}

// readCustom reads a custom resource. One that does not fit its type is an
// error; a policy comes all the same then, as one that denies. One that has fields
// which the type does not have is an error too and comes without them, closed
// (convert.Decode).
func readCustom(k *kind, raw runtime.Object) (func() (any, error), uint64, bool) {
	u, ok := raw.(*unstructured.Unstructured)
	if !ok {
		return nil, 0, false
	}
	stripCustom(u.Object, k)
	data, err := stdjson.Marshal(u.Object)
	if err != nil {
		return func() (any, error) { return nil, err }, 0, true
	}
	return func() (any, error) {
		o, unknown := convert.Decode(data, k.fresh)
		if o == nil {
			return unreadable(k, u), unknown
		}
		var fields *convert.UnknownFieldsError
		if k.foreign && errors.As(unknown, &fields) && !fields.Closed {
			unknown = nil // the types of what is no policy have the fields that are translated
		}
		if !k.foreign {
			return o, unknown
		}
		t, err := translate.Translate(o)
		if err != nil {
			return unreadable(k, u), fmt.Errorf("cannot be translated: %w", err)
		}
		for _, o := range t.Objects {
			if m, ok := o.(metav1.Object); ok {
				m.SetCreationTimestamp(u.GetCreationTimestamp()) // budgets count the oldest first
			}
		}
		return t, unknown
	}, maphash.Bytes(seed, data), true
}

// unreadable is what stands for a policy that cannot be read: one of an action
// that does not exist, which denies all in its direction. Of other kinds
// nothing does, and the result is nil.
func unreadable(k *kind, u *unstructured.Unstructured) any {
	text := func(field string) string {
		s, _, _ := unstructured.NestedString(u.Object, "spec", field)
		return s
	}
	m := metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName(), Labels: u.GetLabels(), UID: u.GetUID(), Generation: u.GetGeneration(), CreationTimestamp: u.GetCreationTimestamp()}
	rules := []v1alpha1.Rule{{Action: "Unreadable"}}
	var o runtime.Object
	switch {
	case k.kind == "GlobalNetworkPolicy":
		p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: m}
		p.Spec.Tier, p.Spec.Selector, p.Spec.NamespaceSelector = text("tier"), text("selector"), text("namespaceSelector")
		p.Spec.Ingress, p.Spec.Egress = rules, rules
		o = p
	case k.kind == "NetworkPolicy":
		p := &v1alpha1.NetworkPolicy{ObjectMeta: m}
		p.Spec.Tier, p.Spec.Selector = text("tier"), text("selector")
		p.Spec.Ingress, p.Spec.Egress = rules, rules
		o = p
	default:
		return nil
	}
	if k.foreign {
		return translate.Result{Objects: []runtime.Object{o}}
	}
	return o
}
