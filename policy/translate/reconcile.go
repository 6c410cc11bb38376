package translate

import (
	"cmp"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Reconcile settles what only shows among several translated objects, for objects
// that are to be written: Merge, and names that an API server takes.
//
// Names: where two policies have one name since only their tiers told them
// apart, those that are not in the default tier get the tier back in front of
// their names. Objects that have one name for another reason are left alone.
func Reconcile(objects []runtime.Object) ([]runtime.Object, []Note) {
	kept := Merge(objects)
	return kept, restoreTierNames(kept)
}

// Merge settles which of several translated objects remain. Call it, or Reconcile,
// once with all objects that Translate returned for one set of manifests, in
// the order in which they were read; objects that were not translated do not
// belong here. It changes objects in place and returns those that remain.
//
// Tiers: of equal Tier objects, which several Cilium policies bring along, the
// first remains.
//
// Settings: the parts of the Tierwall object that came from several objects
// become one, which is the first of them.
func Merge(objects []runtime.Object) []runtime.Object {
	return mergeSettings(dropEqualTiers(objects))
}

// Qualify has a translated policy keep the group and kind that it was translated
// from, so that its identity (convert.RefOf) includes them and its tier. It is for
// policies that are evaluated and whose name another policy has in another tier;
// it changes the object in place.
func Qualify(o runtime.Object) { setGroup(o, calicoVersion) }

// Unqualify undoes Qualify.
func Unqualify(o runtime.Object) { setGroup(o, v1alpha1.GroupVersion) }

func setGroup(o runtime.Object, gv schema.GroupVersion) {
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		o.TypeMeta = typeMeta(gv, "GlobalNetworkPolicy")
	case *v1alpha1.NetworkPolicy:
		o.TypeMeta = typeMeta(gv, "NetworkPolicy")
	}
}

// dropEqualTiers leaves out Tier objects that are equal to an earlier one.
func dropEqualTiers(objects []runtime.Object) []runtime.Object {
	first := map[string]*v1alpha1.Tier{}
	kept := make([]runtime.Object, 0, len(objects))
	for _, o := range objects {
		if t, ok := o.(*v1alpha1.Tier); ok {
			if old := first[t.Name]; old != nil && reflect.DeepEqual(old, t) {
				continue
			}
			first[t.Name] = t
		}
		kept = append(kept, o)
	}
	return kept
}

// mergeSettings folds all Tierwall objects into the first.
func mergeSettings(objects []runtime.Object) []runtime.Object {
	var first *v1alpha1.Tierwall
	kept := make([]runtime.Object, 0, len(objects))
	for _, o := range objects {
		s, ok := o.(*v1alpha1.Tierwall)
		if !ok {
			kept = append(kept, o)
			continue
		}
		if first == nil {
			first = s
			kept = append(kept, o)
			continue
		}
		a, b := &first.Spec, &s.Spec
		if a.Failsafe.Inbound != nil && b.Failsafe.Inbound != nil ||
			a.Failsafe.Outbound != nil && b.Failsafe.Outbound != nil ||
			a.EndpointToHostAction != "" && b.EndpointToHostAction != "" {
			kept = append(kept, o) // a duplicate, to be reported as such
			continue
		}
		a.Failsafe.Inbound = cmp.Or(a.Failsafe.Inbound, b.Failsafe.Inbound)
		a.Failsafe.Outbound = cmp.Or(a.Failsafe.Outbound, b.Failsafe.Outbound)
		a.EndpointToHostAction = cmp.Or(a.EndpointToHostAction, b.EndpointToHostAction)
		a.AutoHostEndpoints = a.AutoHostEndpoints || b.AutoHostEndpoints
	}
	return kept
}

// restoreTierNames renames policies that collide across tiers.
func restoreTierNames(objects []runtime.Object) []Note {
	var notes []Note
	type key struct{ kind, namespace, name string }
	type policy struct {
		name *string
		tier string
	}
	byKey := map[key][]policy{}
	var order []key
	for _, o := range objects {
		var k key
		var p policy
		switch o := o.(type) {
		case *v1alpha1.GlobalNetworkPolicy:
			k, p = key{"GlobalNetworkPolicy", "", o.Name}, policy{&o.Name, o.Spec.Tier}
		case *v1alpha1.NetworkPolicy:
			k, p = key{"NetworkPolicy.tierwall.io", o.Namespace, o.Name}, policy{&o.Name, o.Spec.Tier}
		default:
			continue
		}
		if len(byKey[k]) == 0 {
			order = append(order, k)
		}
		byKey[k] = append(byKey[k], p)
	}
	for _, k := range order {
		group := byKey[k]
		if !slices.ContainsFunc(group, func(p policy) bool { return p.tier != group[0].tier }) {
			continue
		}
		name := k.kind + "/" + k.name
		if k.namespace != "" {
			name = k.kind + "/" + k.namespace + "/" + k.name
		}
		for _, p := range group {
			if p.tier == v1alpha1.DefaultTier {
				continue
			}
			*p.name = p.tier + "." + k.name
			notes = append(notes, Note{
				Object: name, Field: "metadata.name",
				Message: "policies of this name are in several tiers; that of tier " + p.tier + " is called " + *p.name,
			})
		}
	}
	return notes
}
