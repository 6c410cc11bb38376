package manifests

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/tierwall/tierwall/policy/model"
)

// completeNamespaces adds the namespaces that objects live in, with the one
// label that every namespace has.
func (r *Result) completeNamespaces() {
	var missing []string
	seen := map[string]bool{}
	for i := range r.Objects {
		o := &r.Objects[i]
		ns := o.Ref.Namespace
		if ns == "" || seen[ns] || !o.incomplete() {
			continue
		}
		if len(validation.IsDNS1123Label(ns)) > 0 {
			continue // no cluster has it; the objects in it are reported
		}
		seen[ns] = true
		if _, ok := r.Lookup(model.Ref{Kind: model.KindNamespace, Name: ns}); !ok {
			missing = append(missing, ns)
		}
	}
	slices.Sort(missing)
	for _, name := range missing {
		r.addMade(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{corev1.LabelMetadataName: name},
		}}, corev1.SchemeGroupVersion.WithKind("Namespace"), model.Ref{Kind: model.KindNamespace, Name: name}, nil)
	}
}
