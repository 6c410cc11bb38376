package status

import (
	"unique"

	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Cache makes the manager's cache smaller for objects that only this package reads in
// large numbers: policies are stored without managed fields, and the names of policies
// in the reports of all nodes are stored once.
func Cache() map[client.Object]cache.ByObject {
	strip := cache.ByObject{Transform: cache.TransformStripManagedFields()}
	return map[client.Object]cache.ByObject{
		&v1alpha1.GlobalNetworkPolicy{}: strip,
		&v1alpha1.NetworkPolicy{}:       strip,
		&v1alpha1.NodeReport{}:          {Transform: leanReport},
	}
}

func leanReport(o any) (any, error) {
	r, ok := o.(*v1alpha1.NodeReport)
	if !ok {
		return o, nil
	}
	r.ManagedFields = nil
	if len(r.Report.Policies) > 0 {
		shared := make(map[string]int64, len(r.Report.Policies))
		for name, generation := range r.Report.Policies {
			shared[unique.Make(name).Value()] = generation
		}
		r.Report.Policies = shared
	}
	return r, nil
}
