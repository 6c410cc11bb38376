package source

import (
	"cmp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/model"
)

// workload is an object that a controller makes pods from.
type workload struct {
	o        *Object
	owners   []metav1.OwnerReference
	selector labels.Selector // nil: pods are told by their owner only
	template *corev1.PodTemplateSpec
	// path of the template in the object, for lines.
	path string
}

// asWorkload returns false for other kinds of object.
func asWorkload(o *Object) (w workload, ok bool) {
	w = workload{o: o, path: "spec.template"}
	var selector *metav1.LabelSelector
	switch v := o.Object.(type) {
	case *appsv1.Deployment:
		w.template, w.owners, selector = &v.Spec.Template, v.OwnerReferences, v.Spec.Selector
	case *appsv1.StatefulSet:
		w.template, w.owners, selector = &v.Spec.Template, v.OwnerReferences, v.Spec.Selector
	case *appsv1.DaemonSet:
		w.template, w.owners, selector = &v.Spec.Template, v.OwnerReferences, v.Spec.Selector
	case *appsv1.ReplicaSet:
		w.template, w.owners, selector = &v.Spec.Template, v.OwnerReferences, v.Spec.Selector
	case *corev1.ReplicationController:
		if v.Spec.Template == nil {
			return workload{}, false
		}
		w.template, w.owners = v.Spec.Template, v.OwnerReferences
		selector = &metav1.LabelSelector{MatchLabels: v.Spec.Selector}
		if len(v.Spec.Selector) == 0 {
			selector.MatchLabels = v.Spec.Template.Labels
		}
	case *batchv1.Job:
		w.template, w.owners, selector = &v.Spec.Template, v.OwnerReferences, v.Spec.Selector
	case *batchv1.CronJob:
		w.template, w.owners = &v.Spec.JobTemplate.Spec.Template, v.OwnerReferences
		w.path = "spec.jobTemplate.spec.template"
	default:
		return workload{}, false
	}
	if selector == nil || len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		return w, true
	}
	// A broken selector is not ours to report; the pods' owners remain.
	if s, err := metav1.LabelSelectorAsSelector(selector); err == nil {
		w.selector = s
	}
	return w, true
}

// completeWorkloads makes one pod namespace/name for each workload that has no
// pod among the objects: all its pods are alike to policies.
func (r *Result) completeWorkloads() {
	pods := map[string][]*corev1.Pod{} // by namespace
	for _, p := range all[*corev1.Pod](r) {
		pods[p.v.Namespace] = append(pods[p.v.Namespace], p.v)
	}
	var todo []workload
	for _, o := range all[runtime.Object](r) {
		w, ok := asWorkload(o.o)
		if ok && o.o.fromFile() && !r.owned(w) && !w.hasPod(pods[o.o.Ref.Namespace], r) {
			todo = append(todo, w)
		}
	}
	made := make([]Object, 0, len(todo))
	taken := map[model.Ref]bool{}
	for _, w := range todo {
		ref := model.Ref{Kind: model.KindPod, Namespace: w.o.Ref.Namespace, Name: w.o.Ref.Name}
		if _, ok := r.Lookup(ref); ok || taken[ref] {
			// The names of two kinds of workload may be the same; those of pods not.
			ref.Name += "-" + strings.ToLower(string(w.o.Ref.Kind))
			if _, ok := r.Lookup(ref); ok || taken[ref] {
				continue
			}
		}
		taken[ref] = true
		made = append(made, w.pod(ref))
	}
	for _, o := range made {
		r.add(o)
	}
}

// owned says whether a workload is made by another one that is among the
// objects, as a Deployment's ReplicaSets in the export of a namespace are.
func (r *Result) owned(w workload) bool {
	for _, owner := range w.owners {
		if _, ok := r.Lookup(model.Ref{Kind: model.Kind(owner.Kind), Namespace: w.o.Ref.Namespace, Name: owner.Name}); ok {
			return true
		}
	}
	return false
}

// hasPod says whether one of the namespace's pods is the workload's, directly,
// through a workload that it makes, or by its labels.
func (w workload) hasPod(pods []*corev1.Pod, r *Result) bool {
	for _, p := range pods {
		if w.selector != nil && w.selector.Matches(labels.Set(p.Labels)) {
			return true
		}
		for _, owner := range p.OwnerReferences {
			ref := model.Ref{Kind: model.Kind(owner.Kind), Namespace: p.Namespace, Name: owner.Name}
			if ref == w.o.Ref {
				return true
			}
			between, ok := r.Lookup(ref)
			if !ok {
				continue
			}
			b, ok := asWorkload(between)
			if !ok {
				continue
			}
			for _, o := range b.owners {
				if model.Kind(o.Kind) == w.o.Ref.Kind && o.Name == w.o.Ref.Name {
					return true
				}
			}
		}
	}
	return false
}

// pod makes the pod that stands for a workload.
func (w workload) pod(ref model.Ref) Object {
	t := w.template.DeepCopy()
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ref.Namespace, Name: ref.Name,
			Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: w.o.GetObjectKind().GroupVersionKind().GroupVersion().String(),
				Kind:       string(w.o.Ref.Kind), Name: w.o.Ref.Name,
			}},
		},
		Spec: t.Spec,
	}
	o := Object{Object: p, Ref: ref, File: w.o.File, Line: w.o.Line, Added: true}
	// Fields of the pod are fields of the template.
	if w.o.outline != nil {
		o.outline = w.o.outline.at(w.path)
	}
	return o
}

// completePods fills in what a cluster's admission and scheduler would.
func (r *Result) completePods() {
	nodes := all[*corev1.Node](r)
	for _, p := range all[*corev1.Pod](r) {
		if !p.o.fromFile() {
			continue
		}
		if p.v.Spec.ServiceAccountName == "" {
			p.v.Spec.ServiceAccountName = cmp.Or(p.v.Spec.DeprecatedServiceAccount, "default")
		}
		if p.v.Spec.NodeName == "" && len(nodes) == 1 {
			p.v.Spec.NodeName = nodes[0].v.Name
		}
	}
}
