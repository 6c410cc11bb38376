package manifests

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/policy/model"
)

// Complete adds to objects from files what manifests leave out and a cluster
// would fill in, so that they can be evaluated:
//
//   - a pod for each workload (Deployment, CronJob and so on) that has none which runs,
//     with the labels that its controller gives;
//   - labels that a kubelet gives its node;
//   - the service account "default" of pods that name none, and the node of pods
//     where there is only one;
//   - namespaces that objects live in and no file defines;
//   - addresses of pods and nodes that have none;
//   - EndpointSlices of Services with a selector;
//   - the automatic host endpoints, if the Tierwall object asks for them.
//
// Objects of a live cluster stay as they are, for there a pod without an address
// really has none; only the workloads that FromCluster was asked for get pods. The result depends on the objects alone, not on their order.
// A second call changes nothing.
func (r *Result) Complete() {
	r.completeWorkloads()
	r.completeNodes()
	r.completePods()
	r.completeNamespaces()
	r.completeAddresses()
	r.completeServices()
	r.completeHostEndpoints()
}

// incomplete reports whether an object is one that Complete fills in.
func (o *Object) incomplete() bool { return o.File != "" || o.asked }

// all returns the objects of one type, sorted by name. The pointers are valid
// until objects are added.
func all[T runtime.Object](r *Result) []typed[T] {
	var out []typed[T]
	for i := range r.Objects {
		if t, ok := r.Objects[i].Object.(T); ok {
			out = append(out, typed[T]{&r.Objects[i], t})
		}
	}
	slices.SortFunc(out, func(a, b typed[T]) int {
		return cmp.Or(cmp.Compare(a.o.Ref.Namespace, b.o.Ref.Namespace), cmp.Compare(a.o.Ref.Name, b.o.Ref.Name), a.o.Ref.Compare(b.o.Ref))
	})
	return out
}

// typed is an object with its type known.
type typed[T any] struct {
	o *Object
	v T
}

// addMade adds an object that Complete has made, at the place of the object that
// it was made from (nil: none).
func (r *Result) addMade(obj runtime.Object, gvk schema.GroupVersionKind, ref model.Ref, from *Object) {
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	made := Object{Object: obj, Ref: ref, Added: true}
	if from != nil {
		made.File, made.Line, made.Column, made.outline = from.File, from.Line, from.Column, from.outline
	}
	r.add(made)
}
