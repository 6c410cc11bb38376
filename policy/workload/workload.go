// Package workload reads the objects from which controllers create pods, and finds
// their pods. It is pure.
package workload

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tierwall/tierwall/policy/model"
)

// The kinds of workloads.
const (
	kindDeployment            model.Kind = "Deployment"
	kindStatefulSet           model.Kind = "StatefulSet"
	kindDaemonSet             model.Kind = "DaemonSet"
	kindReplicaSet            model.Kind = "ReplicaSet"
	kindReplicationController model.Kind = "ReplicationController"
	kindJob                   model.Kind = "Job"
	kindCronJob               model.Kind = "CronJob"
)

// KindOf reads a kind as kubectl does: its name, plural or short name, in any case.
func KindOf(word string) (model.Kind, bool) {
	k, ok := kindWords[strings.ToLower(word)]
	return k, ok
}

var kindWords = map[string]model.Kind{
	"deploy": kindDeployment, "deployment": kindDeployment, "deployments": kindDeployment,
	"sts": kindStatefulSet, "statefulset": kindStatefulSet, "statefulsets": kindStatefulSet,
	"ds": kindDaemonSet, "daemonset": kindDaemonSet, "daemonsets": kindDaemonSet,
	"rs": kindReplicaSet, "replicaset": kindReplicaSet, "replicasets": kindReplicaSet,
	"rc": kindReplicationController, "replicationcontroller": kindReplicationController, "replicationcontrollers": kindReplicationController,
	"job": kindJob, "jobs": kindJob,
	"cj": kindCronJob, "cronjob": kindCronJob, "cronjobs": kindCronJob,
}

// Workload is an object from which a controller creates pods.
type Workload struct {
	Ref    model.Ref
	UID    types.UID
	Owners []metav1.OwnerReference
	// Template of the pods. Never nil.
	Template *corev1.PodTemplateSpec
	// Path of the template in the object.
	Path string
	// Object it was read from.
	Object runtime.Object
}

// Of reads a workload; false for objects of other kinds and for those without a
// template.
func Of(o runtime.Object) (w Workload, ok bool) {
	w = Workload{Path: "spec.template", Object: o}
	var m *metav1.ObjectMeta
	switch v := o.(type) {
	case *appsv1.Deployment:
		w.Ref.Kind, m, w.Template = kindDeployment, &v.ObjectMeta, &v.Spec.Template
	case *appsv1.StatefulSet:
		w.Ref.Kind, m, w.Template = kindStatefulSet, &v.ObjectMeta, &v.Spec.Template
	case *appsv1.DaemonSet:
		w.Ref.Kind, m, w.Template = kindDaemonSet, &v.ObjectMeta, &v.Spec.Template
	case *appsv1.ReplicaSet:
		w.Ref.Kind, m, w.Template = kindReplicaSet, &v.ObjectMeta, &v.Spec.Template
	case *corev1.ReplicationController:
		if v.Spec.Template == nil {
			return Workload{}, false
		}
		w.Ref.Kind, m, w.Template = kindReplicationController, &v.ObjectMeta, v.Spec.Template
	case *batchv1.Job:
		w.Ref.Kind, m, w.Template = kindJob, &v.ObjectMeta, &v.Spec.Template
	case *batchv1.CronJob:
		w.Ref.Kind, m, w.Template = kindCronJob, &v.ObjectMeta, &v.Spec.JobTemplate.Spec.Template
		w.Path = "spec.jobTemplate.spec.template"
	default:
		return Workload{}, false
	}
	w.Ref.Namespace, w.Ref.Name, w.UID, w.Owners = m.Namespace, m.Name, m.UID, m.OwnerReferences
	return w, true
}

// Runs reports whether a pod has not finished.
func Runs(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// Set is the workloads and the running pods of a set of objects.
type Set struct {
	workloads map[model.Ref]Workload
	pods      map[string][]*corev1.Pod // by namespace
}

// NewSet reads objects of all kinds.
func NewSet(objects []runtime.Object) *Set {
	s := &Set{workloads: map[model.Ref]Workload{}, pods: map[string][]*corev1.Pod{}}
	for _, o := range objects {
		if p, ok := o.(*corev1.Pod); ok && Runs(p) {
			s.pods[p.Namespace] = append(s.pods[p.Namespace], p)
		} else if w, ok := Of(o); ok {
			s.workloads[w.Ref] = w
		}
	}
	for _, list := range s.pods {
		slices.SortFunc(list, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	}
	return s
}

// Made reports whether another workload in the set created a workload, as a Deployment
// does its ReplicaSets in an export of a namespace.
func (s *Set) Made(w Workload) bool {
	return slices.ContainsFunc(w.Owners, func(o metav1.OwnerReference) bool {
		_, ok := s.owner(w.Ref.Namespace, o)
		return ok
	})
}

// Pods returns the running pods that belong to a workload, by name: those that it owns,
// directly or through a workload that it created. If the set does not contain the
// latter, its name decides. For a pod without an owner, or if the name is not
// conclusive, the labels decide: the pod must have all labels of the template.
func (s *Set) Pods(w Workload) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range s.pods[w.Ref.Namespace] {
		if s.belongs(p, w) {
			out = append(out, p)
		}
	}
	return out
}

func (s *Set) belongs(p *corev1.Pod, w Workload) bool {
	if len(p.OwnerReferences) == 0 {
		return w.labels(p)
	}
	for _, o := range p.OwnerReferences {
		if w.is(o) {
			return true
		}
		if between, ok := s.owner(p.Namespace, o); ok {
			if slices.ContainsFunc(between.Owners, w.is) {
				return true
			}
		} else if w.made(o, p) {
			return true
		}
	}
	return false
}

// owner returns the workload that an owner reference names.
func (s *Set) owner(namespace string, o metav1.OwnerReference) (Workload, bool) {
	w, ok := s.workloads[model.Ref{Kind: model.Kind(o.Kind), Namespace: namespace, Name: o.Name}]
	return w, ok && w.is(o)
}

// is reports whether an owner reference names the workload. Manifests have no UIDs.
func (w Workload) is(o metav1.OwnerReference) bool {
	return model.Kind(o.Kind) == w.Ref.Kind && o.Name == w.Ref.Name && (o.UID == "" || w.UID == "" || o.UID == w.UID)
}

// made reports whether the workload created the owner of a pod, by the owner's kind and
// name: the name of a ReplicaSet is that of the Deployment and the hash of its
// template, the name of a Job that of the CronJob and a time.
func (w Workload) made(o metav1.OwnerReference, p *corev1.Pod) bool {
	rest, ok := strings.CutPrefix(o.Name, w.Ref.Name+"-")
	switch kind := model.Kind(o.Kind); {
	case !ok || rest == "":
		return false
	case w.Ref.Kind == kindDeployment && kind == kindReplicaSet:
		return rest == p.Labels[labelTemplateHash] || p.Labels[labelTemplateHash] == "" && w.labels(p)
	case w.Ref.Kind == kindCronJob && kind == kindJob:
		return strings.Trim(rest, "0123456789") == "" || w.labels(p)
	}
	return false
}

// NameOf is the name of the workload that a pod belongs to, derived from its owner
// alone; empty if it has none. The pods of a Deployment belong to its ReplicaSets,
// whose names end with the hash that the pods have as a label.
func NameOf(p *corev1.Pod) string {
	for _, o := range p.OwnerReferences {
		if o.Kind == "Node" {
			continue // a static pod's
		}
		if hash := p.Labels[labelTemplateHash]; model.Kind(o.Kind) == kindReplicaSet && hash != "" {
			return strings.TrimSuffix(o.Name, "-"+hash)
		}
		return o.Name
	}
	return ""
}

// labels reports whether a pod has all labels of the template, which must have at least
// one.
func (w Workload) labels(p *corev1.Pod) bool {
	return len(w.Template.Labels) > 0 && labels.SelectorFromSet(w.Template.Labels).Matches(labels.Set(p.Labels))
}
