package cluster

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// services keeps what belongs together: EndpointSlices, which are many and
// change often, are read only once a policy names a Service, and that policy
// comes into force no sooner than they are known. Until then an earlier
// version of it stays.
type services struct {
	// wanted: some policy names a Service. known: the slices have been delivered.
	wanted, known bool
	// waiting are policies of the cluster's own.
	waiting map[model.Ref]runtime.Object
}

// needsServices reports whether a policy names a Service.
func needsServices(o runtime.Object) bool {
	names := func(r v1alpha1.Rule) bool { return r.Source.Services != nil || r.Destination.Services != nil }
	switch p := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		return slices.ContainsFunc(p.Spec.Ingress, names) || slices.ContainsFunc(p.Spec.Egress, names)
	case *v1alpha1.NetworkPolicy:
		return slices.ContainsFunc(p.Spec.Ingress, names) || slices.ContainsFunc(p.Spec.Egress, names)
	}
	return false
}

// mustWait reports whether an object of the cluster's own waits for slices. The lock is held.
func (l *layers) mustWait(r model.Ref, o runtime.Object) bool {
	if l.services.known || !needsServices(o) {
		delete(l.services.waiting, r)
		return false
	}
	l.services.waiting[r] = o
	l.wantServices()
	return true
}

// wantServices has the slices read. The lock is held.
func (l *layers) wantServices() {
	if !l.services.wanted {
		l.services.wanted = true
		l.stale()
	}
}

// servicesWanted reports whether the slices are to be read.
func (l *layers) servicesWanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.services.wanted
}

// servicesKnown is called once the slices have been delivered, and delivers
// what has waited for them.
func (l *layers) servicesKnown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.services.known {
		return
	}
	l.services.known = true
	var ready []runtime.Object
	for _, r := range slices.SortedFunc(maps.Keys(l.services.waiting), model.Ref.Compare) {
		ready = append(ready, l.services.waiting[r])
	}
	clear(l.services.waiting)
	l.rederive(ready, nil)
}
