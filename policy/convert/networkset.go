package convert

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func globalNetworkSet(o *v1alpha1.GlobalNetworkSet, r *report) model.Object {
	return networkSet(o.Labels, &o.Spec, r)
}

func namespacedNetworkSet(o *v1alpha1.NetworkSet, r *report) model.Object {
	return networkSet(o.Labels, &o.Spec, r)
}

// networkSet converts a GlobalNetworkSet or a NetworkSet. A block that does
// not parse is left out, because the set feeds rules of every action and no
// choice is safe for all of them; the problem says so.
func networkSet(labels map[string]string, spec *v1alpha1.NetworkSetSpec, r *report) model.Object {
	s := &model.NetworkSet{Ref: r.ref, Labels: r.labels(labels)}
	path := field.NewPath("spec")
	before := r.errors
	s.Nets = r.nets(path, "nets", spec.Nets, cidrOrAddress)
	if r.errors > before {
		r.warnf(path.Child("nets"), "invalid blocks are left out of the set: rules that deny its members do not deny these")
	}
	if len(spec.AllowedEgressDomains) > 0 {
		r.errorf(path.Child("allowedEgressDomains"), "is not supported: want addresses in nets; the names are left out")
	}
	return s
}
