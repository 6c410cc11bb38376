package convert

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// budgets reads the bounds on the cost of a namespace's objects. Auto means the value
// in the status: the operator knows whether the installation is new.
func budgets(path *field.Path, o *v1alpha1.Tierwall, r *report) model.Budgets {
	limit := func(name string, n *int32, def int) int {
		switch {
		case n == nil:
			return def
		case *n < 1:
			r.errorf(path.Child(name), "invalid value %d: want 1 or more entries; it is read as %d", *n, def)
			return def
		}
		return int(*n)
	}
	spec := &o.Spec.Budgets
	return model.Budgets{
		Mode:      guard(path.Child("mode"), spec.Mode, autoGuard("budgets", o.Status.Budgets, r), r),
		Namespace: limit("namespace", spec.Namespace, model.DefaultNamespaceBudget),
		Node:      limit("node", spec.Node, model.DefaultNodeBudget),
	}
}
