package convert

import (
	"math"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// tier converts a tier. One of the built-in names stays as it is built in.
func tier(o *v1alpha1.Tier, r *report) model.Object {
	spec := field.NewPath("spec")
	t := &model.Tier{Name: o.Name, Order: order(spec.Child("order"), o.Spec.Order, r), DefaultAction: model.Deny}
	action := o.Spec.DefaultAction
	if action != nil {
		switch *action {
		case v1alpha1.Deny:
		case v1alpha1.Pass:
			t.DefaultAction = model.Pass
		default:
			r.errorf(spec.Child("defaultAction"), "unsupported value %s: want %s; it is read as Deny", quote(string(*action)), list(v1alpha1.Deny, v1alpha1.Pass))
		}
	}
	for _, b := range model.BuiltinTiers() {
		if b.Name != t.Name {
			continue
		}
		if o.Spec.Order != nil && *o.Spec.Order != b.Order {
			r.errorf(spec.Child("order"), "%v is ignored: the order of the built-in tier %s is %v", *o.Spec.Order, b.Name, b.Order)
		}
		if action != nil && t.DefaultAction != b.DefaultAction {
			r.errorf(spec.Child("defaultAction"), "%s is ignored: the default action of the built-in tier %s is %s", quote(string(*action)), b.Name, b.DefaultAction)
		}
		return b
	}
	return t
}

// order reads the order of a tier or policy.
func order(path *field.Path, v *float64, r *report) float64 {
	switch {
	case v == nil:
		return model.NoOrder
	case math.IsNaN(*v) || math.IsInf(*v, 0):
		r.errorf(path, "invalid value %v: want a finite number; it is read as unset", *v)
		return model.NoOrder
	}
	return *v
}
