package manifests

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// Replaced is a translated policy that is not evaluated, because a Tierwall policy
// of the same kind, namespace and name is in the same tier.
type Replaced struct {
	// Policy is the translated one, with its group and tier.
	Policy model.Ref
	// By is the Tierwall policy.
	By model.Ref
}

// OwnTier returns the tier of the Tierwall policy of a name, not of a translated
// one; false if there is none.
type OwnTier func(model.Ref) (tier string, there bool)

// identify makes sure that no policy takes the place of one in another tier: where
// one there has the name of a translated policy, the translated one is qualified
// (translate.Qualify). Within one tier, the
// Tierwall policy replaces the translated one; of two translated ones, the first
// remains.
//
// objects are translated ones, changed in place; kept are those to evaluate, in
// their order.
func identify(objects []runtime.Object, own OwnTier) (kept []runtime.Object, replaced []Replaced) {
	plain := make(map[runtime.Object]model.Ref, len(objects))
	for _, o := range objects {
		plain[o], _ = convert.RefOf(o)
	}
	type identity struct {
		name model.Ref
		tier string
	}
	seen := map[identity]bool{}
	for _, o := range qualify(objects, own) {
		tier, isPolicy := convert.PolicyTier(o)
		if !isPolicy {
			kept = append(kept, o)
			continue
		}
		id := identity{plain[o], tier}
		switch t, there := own(id.name); {
		case seen[id]:
		case there && t == tier:
			translate.Qualify(o)
			r, _ := convert.RefOf(o)
			replaced = append(replaced, Replaced{Policy: r, By: id.name})
		default:
			kept = append(kept, o)
		}
		seen[id] = true
	}
	return kept, replaced
}

// qualify qualifies the translated policies whose name a policy in another tier
// has: a translated one, or one of Tierwall's own. It changes objects in place and
// returns them.
func qualify(objects []runtime.Object, own OwnTier) []runtime.Object {
	tiers := map[model.Ref]string{}
	ambiguous := map[model.Ref]bool{}
	for _, o := range objects {
		tier, isPolicy := convert.PolicyTier(o)
		if !isPolicy {
			continue
		}
		r, _ := convert.RefOf(o)
		before, there := tiers[r]
		if !there {
			before, there = own(r)
		}
		ambiguous[r] = ambiguous[r] || there && before != tier
		tiers[r] = tier
	}
	for _, o := range objects {
		if r, _ := convert.RefOf(o); ambiguous[r] {
			translate.Qualify(o)
		}
	}
	return objects
}

// warnings report the replacement on both policies.
func (r Replaced) warnings() []Warning {
	return []Warning{
		{Object: r.By.String(), Code: lint.CodeReplaced, Severity: lint.Info, Message: "replaces " + r.Policy.String() + ", which has the same name and tier"},
		{Object: r.Policy.String(), Code: lint.CodeReplaced, Severity: lint.Warning, Message: "is not evaluated: replaced by " + r.By.String() + ", which has the same name and tier"},
	}
}

// policyTier is an OwnTier of the objects that have been read.
func (r *Result) policyTier(ref model.Ref) (string, bool) {
	o, ok := r.Lookup(ref)
	if !ok || o.translated {
		return "", false
	}
	return convert.PolicyTier(o.Object)
}

// settle gives a policy that is to be overlaid, or the one of its name that is
// there, its full identity where the two are in different tiers and one of them is
// translated. It returns false for a translated policy that a Tierwall policy
// replaces.
func (r *Result) settle(o *Object) bool {
	tier, isPolicy := convert.PolicyTier(o.Object)
	if !isPolicy {
		return true
	}
	if full := fullIdentity(*o); o.translated {
		if _, there := r.byRef[full.Ref]; there {
			*o = full
			return true
		}
	}
	have, there := r.Lookup(o.Ref)
	if !there || !o.translated && !have.translated {
		return true
	}
	other, _ := convert.PolicyTier(have.Object)
	switch {
	case other == tier && o.translated && !have.translated:
		r.Warnings = append(r.Warnings, Replaced{Policy: fullIdentity(*o).Ref, By: have.Ref}.warnings()...)
		return false
	case other == tier:
		return true
	}
	if have.translated {
		i := r.byRef[have.Ref]
		delete(r.byRef, have.Ref)
		r.Objects[i] = fullIdentity(*have)
		r.byRef[r.Objects[i].Ref] = i
	}
	if o.translated {
		*o = fullIdentity(*o)
	}
	return true
}

// Renamed returns a copy of a translated policy with its full identity, or with its
// name alone.
func Renamed(o runtime.Object, full bool) runtime.Object {
	c := o.DeepCopyObject()
	if full {
		translate.Qualify(c)
	} else {
		translate.Unqualify(c)
	}
	return c
}

// fullIdentity is a translated policy with its group and tier in its name.
func fullIdentity(o Object) Object {
	o.Object = Renamed(o.Object, true)
	o.Ref, _ = convert.RefOf(o.Object)
	return o
}
