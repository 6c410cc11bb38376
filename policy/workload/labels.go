package workload

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
)

// maxOrdinals is how many pods of a StatefulSet have labels of their own here.
const maxOrdinals = 100

// unknownValue is the value of a label whose value a controller generates: a hash, a
// UID, a time. It is known only that the label exists.
const unknownValue = "unknown"

// Labels that controllers add to pods, in addition to those of the template.
const (
	labelControllerUID   = "controller-uid"
	labelJobName         = "job-name"
	labelTemplateHash    = appsv1.DefaultDeploymentUniqueLabelKey
	labelRevisionHash    = appsv1.ControllerRevisionHashLabelKey
	labelGeneration      = "pod-template-generation"
	labelCompletionIndex = batchv1.JobCompletionIndexAnnotation
)

// PodLabels are the labels of a workload's pods, one map for each pod that policies can
// tell from the others: the pods of a StatefulSet have their name and number. For every
// other workload, there is only one.
func (w Workload) PodLabels() []map[string]string {
	base := maps.Clone(w.Template.Labels)
	if base == nil {
		base = map[string]string{}
	}
	unknown := func(keys ...string) {
		for _, k := range keys {
			if _, set := base[k]; !set {
				base[k] = unknownValue
			}
		}
	}
	switch o := w.Object.(type) {
	case *appsv1.Deployment:
		unknown(labelTemplateHash)
	case *appsv1.DaemonSet:
		unknown(labelRevisionHash, labelGeneration)
	case *appsv1.StatefulSet:
		unknown(labelRevisionHash)
		return ordinals(o, base)
	case *batchv1.Job:
		jobLabels(base, &o.Spec, o.Name, string(o.UID))
	case *batchv1.CronJob:
		// The name of a Job is that of the CronJob and the time.
		jobLabels(base, &o.Spec.JobTemplate.Spec, o.Name+"-"+unknownValue, "")
	}
	return []map[string]string{base}
}

// jobLabels adds the labels of a Job's pods, in both of their spellings.
func jobLabels(base map[string]string, s *batchv1.JobSpec, name, uid string) {
	if s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion {
		base[labelCompletionIndex] = "0"
	}
	if s.ManualSelector != nil && *s.ManualSelector {
		return // what tells its pods apart is the template's
	}
	if uid == "" {
		uid = unknownValue
	}
	if len(name) > 63 {
		name = name[:63] // of no valid Job
	}
	for k, v := range map[string]string{
		labelControllerUID: uid, batchv1.ControllerUidLabel: uid,
		labelJobName: name, batchv1.JobNameLabel: name,
	} {
		if _, set := base[k]; !set {
			base[k] = v
		}
	}
}

// ordinals are the labels of each pod of a StatefulSet.
func ordinals(o *appsv1.StatefulSet, base map[string]string) []map[string]string {
	replicas, start := 1, 0
	if o.Spec.Replicas != nil {
		replicas = min(max(int(*o.Spec.Replicas), 1), maxOrdinals)
	}
	if o.Spec.Ordinals != nil {
		start = int(o.Spec.Ordinals.Start)
	}
	out := make([]map[string]string, replicas)
	for i := range out {
		out[i] = maps.Clone(base)
		number := strconv.Itoa(start + i)
		out[i][appsv1.StatefulSetPodNameLabel] = o.Name + "-" + number
		out[i][appsv1.PodIndexLabel] = number
	}
	return out
}
