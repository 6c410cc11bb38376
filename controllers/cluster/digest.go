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

// trimmed is an object without what nothing reads of it.
type trimmed struct {
	hash uint64
	// object is of a built-in kind, as it is passed on; custom is a custom resource,
	// which is decoded only if it is news.
	object runtime.Object
	custom *customObject
}

// trim returns what is read of an object as the server sends it. False: the object takes
// no part, and is treated as if it did not exist. The store's lock is held.
func (s *store) trim(raw runtime.Object) (trimmed, bool) {
	switch {
	case s.kind.named != nil:
		m, ok := raw.(metav1.Object)
		return trimmed{object: raw}, ok && s.kind.named[m.GetName()]
	case s.kind.custom():
		return trimCustom(s.kind, raw)
	}
	o, part := lean(raw)
	if !part {
		return trimmed{}, false
	}
	m, ok := o.(marshaler)
	if !ok {
		return trimmed{}, false
	}
	return trimmed{hash: s.hasher.hash(m), object: o}, true
}

// decode returns the object as it is passed on: of a foreign kind a translate.Result, else a
// runtime.Object. nil: nothing stands for an object that cannot be read.
func (t trimmed) decode() (any, error) {
	if t.custom != nil {
		return t.custom.decode()
	}
	return t.object, nil
}

// customObject is a custom resource.
type customObject struct {
	kind *kind
	raw  *unstructured.Unstructured
	data []byte // JSON
	err  error  // why there is none
}

func trimCustom(k *kind, raw runtime.Object) (trimmed, bool) {
	u, ok := raw.(*unstructured.Unstructured)
	if !ok {
		return trimmed{}, false
	}
	stripCustom(u.Object, k)
	data, err := stdjson.Marshal(u.Object)
	if err != nil {
		return trimmed{custom: &customObject{kind: k, raw: u, err: err}}, true
	}
	return trimmed{hash: maphash.Bytes(seed, data), custom: &customObject{kind: k, raw: u, data: data}}, true
}

// decode reads a custom resource. One that does not fit its type is an
// error; a policy comes all the same then, as one that denies. One that has fields
// which the type does not have is an error too and comes without them, closed
// (convert.Decode).
func (c *customObject) decode() (any, error) {
	if c.err != nil {
		return nil, c.err
	}
	o, unknown := convert.Decode(c.data, c.kind.fresh)
	if o == nil {
		return unreadable(c.kind, c.raw), unknown
	}
	var fields *convert.UnknownFieldsError
	if c.kind.foreign && errors.As(unknown, &fields) && !fields.Closed {
		unknown = nil // the types of what is no policy have the fields that are translated
	}
	if !c.kind.foreign {
		return o, unknown
	}
	t, err := translate.Translate(o)
	if err != nil {
		return unreadable(c.kind, c.raw), fmt.Errorf("cannot be translated: %w", err)
	}
	for _, o := range t.Objects {
		if m, ok := o.(metav1.Object); ok {
			m.SetCreationTimestamp(c.raw.GetCreationTimestamp()) // budgets count the oldest first
		}
	}
	return t, unknown
}

// unreadable returns the stand-in for a policy that cannot be read: one with an action
// that does not exist, which denies all in its direction. For other kinds it returns nil.
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
