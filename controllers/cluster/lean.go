package cluster

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/model"
)

// lean cuts a built-in object down to what is read of it; false: it takes no part.
// That is so of pods that are no endpoints (on the host's network, finished, or
// on no node yet), and of slices of no Service. A pod that is on a node and has no
// address takes part, and keeps what tells it from others of its name: its address
// may be known before the API server knows it (package startup).
func lean(o runtime.Object) (runtime.Object, bool) {
	switch o := o.(type) {
	case *corev1.Pod:
		if o.Spec.HostNetwork || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed ||
			o.Status.PodIP == "" && len(o.Status.PodIPs) == 0 && o.Spec.NodeName == "" {
			return nil, false
		}
		p, _ := manifests.Trim(o).(*corev1.Pod)
		p.UID = o.UID
		if uid, ok := o.Annotations[corev1.MirrorPodAnnotationKey]; ok {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: uid}
		}
		p.Spec.TerminationGracePeriodSeconds = grace(o)
		p.Status.Phase = "" // no news as long as it has not ended
		return p, true
	case *discoveryv1.EndpointSlice:
		if o.Labels[discoveryv1.LabelServiceName] == "" || o.AddressType == discoveryv1.AddressTypeFQDN {
			return nil, false
		}
	}
	return manifests.Trim(o), true
}

// grace is how long a pod may take to end after its deletion, in seconds: the value in
// its spec, or that of the deletion if that is longer; nil means the API's default.
func grace(o *corev1.Pod) *int64 {
	s, d := o.Spec.TerminationGracePeriodSeconds, o.DeletionGracePeriodSeconds
	if d != nil && (s == nil || *d > *s) {
		return d
	}
	return s
}

// stripCustom removes the fields of a custom resource that nothing reads, in place. Of
// the status, only the meaning of Auto in this installation is read: the rest, which
// changes all the time, must not count as a change.
func stripCustom(fields map[string]any, k *kind) {
	status, _ := fields["status"].(map[string]any)
	delete(fields, "status")
	if k.ref == model.KindTierwall {
		maps.DeleteFunc(status, func(key string, _ any) bool { return key != "guards" && key != "namespacedSets" && key != "budgets" })
		if len(status) > 0 {
			fields["status"] = status
		}
	}
	meta, _ := fields["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	maps.DeleteFunc(meta, func(key string, _ any) bool {
		switch key {
		case "name", "namespace", "labels", "annotations", "uid", "generation", "creationTimestamp":
			return false
		}
		return true
	})
	maps.DeleteFunc(annotations, func(key string, _ any) bool {
		return key != v1alpha1.EnforcementAnnotation && (!k.foreign || key != calicoMetadata)
	})
	if len(annotations) == 0 {
		delete(meta, "annotations")
	}
}

// calicoMetadata is where the older spelling of Calico's objects keeps their
// labels and names.
const calicoMetadata = "projectcalico.org/metadata"
