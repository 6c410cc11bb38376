package manifests

import (
	"cmp"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/workload"
)

// completeWorkloads makes one pod namespace/name for each workload that has no running
// pod among the objects, and for a StatefulSet one for each other replica: policies can
// tell them apart.
func (r *Result) completeWorkloads() {
	set := workload.NewSet(r.All())
	type todo struct {
		o *Object
		w workload.Workload
	}
	var without []todo
	for _, o := range all[runtime.Object](r) {
		w, ok := workload.Of(o.v)
		if ok && o.o.incomplete() && !set.Made(w) && len(set.Pods(w)) == 0 {
			w.Ref = o.o.Ref // with the namespace of those that name none
			without = append(without, todo{o.o, w})
		}
	}
	taken := map[model.Ref]bool{}
	var made []Object
	for _, t := range without {
		for i, labels := range t.w.PodLabels() {
			name := t.w.Ref.Name
			if i > 0 {
				name = labels[appsv1.StatefulSetPodNameLabel]
			}
			ref := r.standInRef(t.w.Ref, name, taken)
			taken[ref] = true
			made = append(made, standIn(t.o, t.w, ref, labels))
		}
	}
	for _, o := range made {
		r.add(o)
	}
}

// standInRef is a name for a pod that nobody has: the one given, or that and the kind of
// the workload, for the names of two kinds of workload may be the same and those of
// pods not.
func (r *Result) standInRef(w model.Ref, name string, taken map[model.Ref]bool) model.Ref {
	kind := "-" + strings.ToLower(string(w.Kind))
	for suffix, n := "", 1; ; n++ {
		ref := model.Ref{Kind: model.KindPod, Namespace: w.Namespace, Name: name + suffix}
		if _, there := r.Lookup(ref); !there && !taken[ref] {
			return ref
		}
		if suffix = kind; n > 1 {
			suffix = kind + "-" + strconv.Itoa(n)
		}
	}
}

// standIn makes a pod that stands for a workload's.
func standIn(from *Object, w workload.Workload, ref model.Ref, labels map[string]string) Object {
	t := w.Template.DeepCopy()
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ref.Namespace, Name: ref.Name,
			Labels: labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: from.GetObjectKind().GroupVersionKind().GroupVersion().String(),
				Kind:       string(w.Ref.Kind), Name: w.Ref.Name, UID: w.UID,
			}},
		},
		Spec: t.Spec,
	}
	o := Object{Object: p, Ref: ref, File: from.File, Line: from.Line, Added: true, asked: from.asked}
	// Fields of the pod are fields of the template.
	if from.outline != nil {
		o.outline = from.outline.at(w.Path)
	}
	return o
}

// completeNodes gives nodes the labels that a kubelet gives its own.
func (r *Result) completeNodes() {
	for _, n := range all[*corev1.Node](r) {
		if !n.o.incomplete() {
			continue
		}
		if n.v.Labels == nil {
			n.v.Labels = map[string]string{}
		}
		for k, v := range map[string]string{corev1.LabelHostname: n.v.Name, corev1.LabelOSStable: "linux"} {
			if _, set := n.v.Labels[k]; !set {
				n.v.Labels[k] = v
			}
		}
	}
}

// completePods fills in what a cluster's admission and scheduler would.
func (r *Result) completePods() {
	nodes := all[*corev1.Node](r)
	for _, p := range all[*corev1.Pod](r) {
		if !p.o.incomplete() {
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
