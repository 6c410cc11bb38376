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
// Names: where policies of several tiers have one name, those that are not in the
// default tier get the tier behind it, and so do all whose name a policy of another
// tier has that needed no translation (written). Objects that have one name for another
// reason are left alone.
func Reconcile(objects, written []runtime.Object) ([]runtime.Object, []Note) {
	kept := Merge(objects)
	return kept, separateTiers(kept, written)
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

// policyID is how an API server identifies policies.
type policyID struct{ kind, namespace, name string }

func (id policyID) String() string {
	if id.namespace == "" {
		return id.kind + "/" + id.name
	}
	return id.kind + "/" + id.namespace + "/" + id.name
}

// namedPolicy is a policy whose name may have to change if others have it too.
type namedPolicy struct {
	id      policyID
	name    *string
	tier    string
	written bool
}

func policyOf(o runtime.Object) (p namedPolicy, ok bool) {
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		p = namedPolicy{id: policyID{"GlobalNetworkPolicy", "", o.Name}, name: &o.Name, tier: o.Spec.Tier}
	case *v1alpha1.NetworkPolicy:
		p = namedPolicy{id: policyID{"NetworkPolicy.tierwall.io", o.Namespace, o.Name}, name: &o.Name, tier: o.Spec.Tier}
	default:
		return namedPolicy{}, false
	}
	p.tier = cmp.Or(p.tier, v1alpha1.DefaultTier)
	return p, true
}

// separateTiers renames translated policies that have the name of a policy in another
// tier. Ties are broken by name, so a new name sorts where the old one did among the
// policies of its tier.
func separateTiers(objects, written []runtime.Object) []Note {
	var policies []namedPolicy
	for i, o := range slices.Concat(written, objects) {
		if p, ok := policyOf(o); ok {
			p.written = i < len(written)
			policies = append(policies, p)
		}
	}
	keepers := map[policyID]namedPolicy{}
	for _, p := range policies {
		k, ok := keepers[p.id]
		if !ok || !k.written && k.tier != v1alpha1.DefaultTier && p.tier == v1alpha1.DefaultTier {
			keepers[p.id] = p
		}
	}
	var notes []Note
	for i, p := range policies {
		if p.written || keepers[p.id].tier == p.tier {
			continue
		}
		name := nameBeside(policies, p)
		notes = append(notes, Note{
			Object: p.id.String(), Field: "metadata.name",
			Message: "policies of this name are in several tiers; that of tier " + p.tier + " is called " + name,
		})
		*p.name = name
		policies[i].id.name = name
	}
	return notes
}

// nameBeside is an unused name that sorts next to a policy's own among those of its
// kind, namespace and tier: the name, dashes and the tier. (A dash sorts before any
// other character with which a name can continue.)
func nameBeside(policies []namedPolicy, p namedPolicy) string {
	for dashes := "-"; ; dashes += "-" {
		name := p.id.name + dashes + p.tier
		free := !slices.ContainsFunc(policies, func(o namedPolicy) bool {
			return o.id.kind == p.id.kind && o.id.namespace == p.id.namespace &&
				(o.id.name == name || o.tier == p.tier && p.id.name < o.id.name && o.id.name < name)
		})
		if free {
			return name
		}
	}
}
