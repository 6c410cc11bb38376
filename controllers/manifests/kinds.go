package manifests

import (
	"reflect"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// kind is what this package must know about a kind that it reads.
type kind struct {
	convert.Kind
	// strict kinds have no unknown fields; of the others a newer Kubernetes may
	// know more, which is a warning.
	strict bool
	// workload kinds stand for pods; of a cluster the pods are read instead.
	workload bool
	// aid kinds make verdicts about hosts more exact. Users who may not list them in
	// a cluster get verdicts without, and a warning.
	aid bool
}

const (
	networkPolicyGroup = "policy.networking.k8s.io"
	calicoGroup        = "projectcalico.org"
	calicoCRDGroup     = "crd.projectcalico.org"
)

// kinds are those that are read as they are. Others go through package translate.
var kinds = func() []kind {
	var out []kind
	for _, k := range convert.Kinds() {
		out = append(out, kind{
			Kind:   k,
			strict: k.Group != corev1.GroupName && k.Group != discoveryv1.GroupName,
			aid:    k.Ref == model.KindNodeLinks,
		})
	}
	return append(out,
		workloadKind(appsv1.SchemeGroupVersion, func() runtime.Object { return &appsv1.Deployment{} }),
		workloadKind(appsv1.SchemeGroupVersion, func() runtime.Object { return &appsv1.StatefulSet{} }),
		workloadKind(appsv1.SchemeGroupVersion, func() runtime.Object { return &appsv1.DaemonSet{} }),
		workloadKind(appsv1.SchemeGroupVersion, func() runtime.Object { return &appsv1.ReplicaSet{} }),
		workloadKind(corev1.SchemeGroupVersion, func() runtime.Object { return &corev1.ReplicationController{} }),
		workloadKind(batchv1.SchemeGroupVersion, func() runtime.Object { return &batchv1.CronJob{} }),
		workloadKind(batchv1.SchemeGroupVersion, func() runtime.Object { return &batchv1.Job{} }),
		// Of files only, like workloads: a cluster mirrors them in EndpointSlices.
		workloadKind(corev1.SchemeGroupVersion, func() runtime.Object { return &corev1.Endpoints{} }), //nolint:staticcheck // people still write them
	)
}()

// workloadKind is a kind that stands for pods, and is called like its type.
func workloadKind(gv schema.GroupVersion, fresh func() runtime.Object) kind {
	name := reflect.TypeOf(fresh()).Elem().Name()
	return kind{workload: true, Kind: convert.Kind{
		GroupVersionKind: gv.WithKind(name), Resource: strings.ToLower(name) + "s", Namespaced: true, Ref: model.Kind(name), New: fresh,
	}}
}

// path is where the API server has the kind's group and version.
func (k *kind) path() string {
	if k.Group == "" {
		return "/api/" + k.Version
	}
	return "/apis/" + k.Group + "/" + k.Version
}

// policyTestGVK is the kind of policy tests, which are no API objects.
var policyTestGVK = v1alpha1.GroupVersion.WithKind("PolicyTest")

// dnsAnswersGVK is the kind of files of DNS answers, which are no API objects.
var dnsAnswersGVK = v1alpha1.GroupVersion.WithKind("DNSAnswers")

// kindByGVK finds the entries of kinds.
var kindByGVK = func() map[schema.GroupVersionKind]*kind {
	out := make(map[schema.GroupVersionKind]*kind, len(kinds))
	for i := range kinds {
		out[kinds[i].GroupVersionKind] = &kinds[i]
	}
	return out
}()

// speaksOfPolicy reports whether a kind that is not read says what traffic may pass.
func speaksOfPolicy(gvk schema.GroupVersionKind) bool {
	_, known := foreignKinds[gvk.GroupKind()]
	return known || strings.Contains(gvk.Kind, "NetworkPolicy") || strings.Contains(gvk.Kind, "NetworkPolicies")
}

// foreignKinds have a place in another command, or in none.
var foreignKinds = func() map[schema.GroupKind]string {
	out := map[schema.GroupKind]string{
		{Group: "kustomize.config.k8s.io", Kind: "Kustomization"}: "pass the output of kustomize build",
		{Group: "kustomize.config.k8s.io", Kind: "Component"}:     "pass the output of kustomize build",
		{Group: "crd.antrea.io", Kind: "ClusterNetworkPolicy"}:    "Antrea's own policies are not evaluated",
		{Group: "crd.antrea.io", Kind: "NetworkPolicy"}:           "Antrea's own policies are not evaluated",
	}
	for _, gvk := range translate.Kinds() {
		if !translated(gvk) {
			out[gvk.GroupKind()] = "tierwall convert translates it"
		}
	}
	return out
}()
