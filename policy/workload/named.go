package workload

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/policy/model"
)

// Match is a workload that a name stands for.
type Match struct {
	Ref model.Ref
	// Pods of it that run, by name; none where it has none.
	Pods []*corev1.Pod
}

// Match returns the workloads of a name, sorted by reference. An empty kind stands for all
// kinds, but not for workloads that others of the set make, and an empty namespace for all
// namespaces. A workload that the set does not hold is found by the owner references of its
// running pods: of a live cluster the pods are read and the workloads are not.
func (s *Set) Match(kind model.Kind, namespace, name string) []Match {
	var out []Match
	for ref, w := range s.workloads {
		if ref.Name == name && (namespace == "" || ref.Namespace == namespace) &&
			(kind == ref.Kind || kind == "" && !s.Made(w)) {
			out = append(out, Match{ref, s.Pods(w)})
		}
	}
	owned := map[model.Ref][]*corev1.Pod{}
	for in, pods := range s.pods {
		if namespace != "" && in != namespace {
			continue
		}
		for _, p := range pods {
			for _, ref := range s.ownersOf(p) {
				if ref.Name == name && (kind == "" || ref.Kind == kind) {
					owned[ref] = append(owned[ref], p)
				}
			}
		}
	}
	for ref, pods := range owned {
		out = append(out, Match{ref, pods})
	}
	slices.SortFunc(out, func(a, b Match) int { return a.Ref.Compare(b.Ref) })
	return out
}

// ownersOf are the workloads that a pod belongs to and that the set does not hold, each
// once: those that own it, and those whose names the owners' names begin with (see made).
func (s *Set) ownersOf(p *corev1.Pod) []model.Ref {
	var out []model.Ref
	add := func(kind model.Kind, name string) {
		ref := model.Ref{Kind: kind, Namespace: p.Namespace, Name: name}
		if _, held := s.workloads[ref]; !held && !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	for _, o := range p.OwnerReferences {
		if held, ok := s.owner(p.Namespace, o); ok {
			for _, above := range held.Owners {
				add(model.Kind(above.Kind), above.Name)
			}
			continue
		}
		switch kind := model.Kind(o.Kind); kind {
		case model.KindNode: // of a static pod
			continue
		case kindReplicaSet:
			if name, ok := strings.CutSuffix(o.Name, "-"+p.Labels[labelTemplateHash]); ok && name != "" {
				add(kindDeployment, name)
			}
		case kindJob:
			if i := strings.LastIndexByte(o.Name, '-'); i > 0 && i+1 < len(o.Name) && strings.Trim(o.Name[i+1:], "0123456789") == "" {
				add(kindCronJob, o.Name[:i])
			}
		}
		add(model.Kind(o.Kind), o.Name)
	}
	return out
}
