package operator

import (
	"cmp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Settings are what Desired takes beside the Tierwall object.
type Settings struct {
	// Namespace of the agents; empty means DefaultNamespace.
	Namespace string
	// Image of the agents where the Tierwall object names none.
	Image string
	// Cleanup makes the agents remove what they have put into the kernel, in
	// place of enforcing.
	Cleanup bool
}

// Desired returns what has to be in the cluster for a Tierwall object, in the
// order in which it is applied: what is used comes before what uses it. It is a
// pure function, and the objects are the caller's.
func Desired(tw *v1alpha1.Tierwall, s Settings) []client.Object {
	s.Namespace = cmp.Or(s.Namespace, DefaultNamespace)
	objects := append(builtInTiers(),
		serviceAccount(s),
		clusterRole(),
		clusterRoleBinding(s),
	)
	if !onLoopback(tw) {
		objects = append(objects, service(tw, s))
	}
	return append(objects, daemonSet(tw, s))
}

// obsolete returns what must not be in the cluster for a Tierwall object, though
// another one may have brought it there.
func obsolete(tw *v1alpha1.Tierwall, s Settings) []client.Object {
	s.Namespace = cmp.Or(s.Namespace, DefaultNamespace)
	if !onLoopback(tw) {
		return nil
	}
	return []client.Object{service(tw, s)}
}

// removable returns what goes with the Tierwall object, in the order in which it
// is deleted. Tiers stay: policies may be in them.
func removable(tw *v1alpha1.Tierwall, s Settings) []client.Object {
	s.Namespace = cmp.Or(s.Namespace, DefaultNamespace)
	return []client.Object{daemonSet(tw, s), service(tw, s), clusterRoleBinding(s), clusterRole(), serviceAccount(s)}
}

// builtInTiers are the objects of the built-in tiers.
func builtInTiers() []client.Object {
	var out []client.Object
	for _, b := range builtin.Tiers() {
		t := &v1alpha1.Tier{Spec: v1alpha1.TierSpec{Order: ptr.To(b.Order), DefaultAction: ptr.To(v1alpha1.Deny)}}
		if b.Pass {
			t.Spec.DefaultAction = ptr.To(v1alpha1.Pass)
		}
		t.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Tier"))
		t.Name = b.Name
		// A tier is no part of the agents: no component.
		t.Labels = map[string]string{labelPartOf: "tierwall", labelManagedBy: FieldOwner}
		out = append(out, t)
	}
	return out
}

// toApply turns an object into what is sent to the API server: only what the
// operator means to own. A field that the Go type cannot leave out, such as an
// empty status, is not sent.
func toApply(o client.Object) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	delete(fields, "status")
	pruned, _ := prune(fields).(map[string]any)
	return &unstructured.Unstructured{Object: pruned}, nil
}

// prune drops nulls, and the empty objects that an omitted struct leaves behind.
// An object that is meant to be empty does not occur in what the operator applies.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e = prune(e); e == nil {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		for i, e := range v {
			if e = prune(e); e != nil {
				v[i] = e
			}
		}
	}
	return v
}

// kindOf names an object for people: Kind/name or Kind/namespace/name.
func kindOf(o client.Object) string {
	name := o.GetName()
	if ns := o.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return kind(o.GetObjectKind().GroupVersionKind()) + "/" + name
}

func kind(gvk schema.GroupVersionKind) string { return cmp.Or(gvk.Kind, "object") }
