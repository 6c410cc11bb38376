package workload

import (
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Labels by which the controllers of Kubernetes tell their pods apart.
const (
	labelSetPod    = "statefulset.kubernetes.io/pod-name"
	labelJob       = "batch.kubernetes.io/job-name"
	labelJobBefore = "job-name"
	labelRevision  = "controller-revision-hash"
)

// OwnerOf returns the workload that a pod belongs to, by its name and labels alone; of a
// pod that none of Kubernetes' own controllers has made, it is the pod itself. The name of
// a workload always begins that of its pods: no labels make a pod another workload's.
func OwnerOf(namespace, name string, labels map[string]string) model.Ref {
	pod := model.Ref{Kind: model.KindPod, Namespace: namespace, Name: name}
	random := strings.LastIndexByte(name, '-') // before what makes the name unique
	if random <= 0 {
		return pod
	}
	base := name[:random]
	of := func(kind model.Kind, name string) model.Ref {
		return model.Ref{Kind: kind, Namespace: namespace, Name: name}
	}
	if hash := labels[labelTemplateHash]; hash != "" {
		if made, ok := strings.CutSuffix(base, "-"+hash); ok && made != "" {
			return of(kindDeployment, made)
		}
		return of(kindReplicaSet, base)
	}
	if labels[labelSetPod] == name {
		return of(kindStatefulSet, base)
	}
	for _, label := range []string{labelJob, labelJobBefore} {
		job := labels[label]
		if job == "" || !strings.HasPrefix(name, job+"-") {
			continue
		}
		if i := strings.LastIndexByte(job, '-'); i > 0 && i+1 < len(job) && strings.Trim(job[i+1:], "0123456789") == "" {
			return of(kindCronJob, job[:i])
		}
		return of(kindJob, job)
	}
	if labels[labelRevision] != "" {
		return of(kindDaemonSet, base)
	}
	return pod
}
