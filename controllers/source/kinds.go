package source

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// kind is what this package must know about a kind that it reads.
type kind struct {
	gvk schema.GroupVersionKind
	// resource is the plural name in URLs and permissions.
	resource   string
	namespaced bool
	// strict kinds have no unknown fields; of the others a newer Kubernetes may
	// know more, which is a warning.
	strict bool
	// workload kinds stand for pods; a cluster's are not read, its pods are.
	workload bool
	// aid kinds make verdicts about hosts more exact. Users who may not list them in
	// a cluster get verdicts without, and a warning.
	aid bool
	// ref is the kind's name in references.
	ref   model.Kind
	fresh func() runtime.Object
}

const (
	networkPolicyGroup = "policy.networking.k8s.io"
	calicoGroup        = "projectcalico.org"
	calicoCRDGroup     = "crd.projectcalico.org"
)

// kinds are those that are read as they are. Others go through package translate.
var kinds = []kind{
	{gvk: corev1.SchemeGroupVersion.WithKind("Namespace"), resource: "namespaces", ref: model.KindNamespace, fresh: func() runtime.Object { return &corev1.Namespace{} }},
	{gvk: corev1.SchemeGroupVersion.WithKind("Node"), resource: "nodes", ref: model.KindNode, fresh: func() runtime.Object { return &corev1.Node{} }},
	{gvk: corev1.SchemeGroupVersion.WithKind("ServiceAccount"), resource: "serviceaccounts", namespaced: true, ref: model.KindServiceAccount, fresh: func() runtime.Object { return &corev1.ServiceAccount{} }},
	{gvk: corev1.SchemeGroupVersion.WithKind("Pod"), resource: "pods", namespaced: true, ref: model.KindPod, fresh: func() runtime.Object { return &corev1.Pod{} }},
	{gvk: corev1.SchemeGroupVersion.WithKind("Service"), resource: "services", namespaced: true, ref: model.KindService, fresh: func() runtime.Object { return &corev1.Service{} }},
	{gvk: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), resource: "endpointslices", namespaced: true, ref: model.KindEndpointSlice, fresh: func() runtime.Object { return &discoveryv1.EndpointSlice{} }},

	{gvk: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), resource: "networkpolicies", namespaced: true, strict: true, ref: model.KindNetworkPolicy, fresh: func() runtime.Object { return &networkingv1.NetworkPolicy{} }},
	{gvk: schema.GroupVersionKind{Group: clusterv1alpha2.GroupName, Version: "v1alpha2", Kind: "ClusterNetworkPolicy"}, resource: "clusternetworkpolicies", strict: true, ref: model.KindClusterNetworkPolicy, fresh: func() runtime.Object { return &clusterv1alpha2.ClusterNetworkPolicy{} }},

	{gvk: v1alpha1.GroupVersion.WithKind("Tier"), resource: "tiers", strict: true, ref: model.KindTier, fresh: func() runtime.Object { return &v1alpha1.Tier{} }},
	{gvk: v1alpha1.GroupVersion.WithKind("GlobalNetworkPolicy"), resource: "globalnetworkpolicies", strict: true, ref: model.KindGlobalNetworkPolicy, fresh: func() runtime.Object { return &v1alpha1.GlobalNetworkPolicy{} }},
	{gvk: v1alpha1.GroupVersion.WithKind("NetworkPolicy"), resource: "networkpolicies", namespaced: true, strict: true, ref: model.KindTierwallNetworkPolicy, fresh: func() runtime.Object { return &v1alpha1.NetworkPolicy{} }},
	{gvk: v1alpha1.GroupVersion.WithKind("GlobalNetworkSet"), resource: "globalnetworksets", strict: true, ref: model.KindGlobalNetworkSet, fresh: func() runtime.Object { return &v1alpha1.GlobalNetworkSet{} }},
	{gvk: v1alpha1.GroupVersion.WithKind("NetworkSet"), resource: "networksets", namespaced: true, strict: true, ref: model.KindNetworkSet, fresh: func() runtime.Object { return &v1alpha1.NetworkSet{} }},
	{gvk: v1alpha1.GroupVersion.WithKind("HostEndpoint"), resource: "hostendpoints", strict: true, ref: model.KindHostEndpoint, fresh: func() runtime.Object { return &v1alpha1.HostEndpoint{} }},
	{gvk: v1alpha1.GroupVersion.WithKind("Tierwall"), resource: "tierwalls", strict: true, ref: model.KindTierwall, fresh: func() runtime.Object { return &v1alpha1.Tierwall{} }},
	{gvk: v1alpha1.GroupVersion.WithKind("NodeReport"), resource: "nodereports", strict: true, aid: true, ref: model.KindNodeLinks, fresh: func() runtime.Object { return &v1alpha1.NodeReport{} }},

	{gvk: appsv1.SchemeGroupVersion.WithKind("Deployment"), namespaced: true, workload: true, ref: "Deployment", fresh: func() runtime.Object { return &appsv1.Deployment{} }},
	{gvk: appsv1.SchemeGroupVersion.WithKind("StatefulSet"), namespaced: true, workload: true, ref: "StatefulSet", fresh: func() runtime.Object { return &appsv1.StatefulSet{} }},
	{gvk: appsv1.SchemeGroupVersion.WithKind("DaemonSet"), namespaced: true, workload: true, ref: "DaemonSet", fresh: func() runtime.Object { return &appsv1.DaemonSet{} }},
	{gvk: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), namespaced: true, workload: true, ref: "ReplicaSet", fresh: func() runtime.Object { return &appsv1.ReplicaSet{} }},
	{gvk: corev1.SchemeGroupVersion.WithKind("ReplicationController"), namespaced: true, workload: true, ref: "ReplicationController", fresh: func() runtime.Object { return &corev1.ReplicationController{} }},
	{gvk: batchv1.SchemeGroupVersion.WithKind("CronJob"), namespaced: true, workload: true, ref: "CronJob", fresh: func() runtime.Object { return &batchv1.CronJob{} }},
	{gvk: batchv1.SchemeGroupVersion.WithKind("Job"), namespaced: true, workload: true, ref: "Job", fresh: func() runtime.Object { return &batchv1.Job{} }},
	// Of files only, like workloads: a cluster mirrors them in EndpointSlices.
	{gvk: corev1.SchemeGroupVersion.WithKind("Endpoints"), namespaced: true, workload: true, ref: "Endpoints", fresh: func() runtime.Object { return &corev1.Endpoints{} }}, //nolint:staticcheck // people still write them
}

// policyTestGVK is the kind of policy tests, which are no API objects.
var policyTestGVK = v1alpha1.GroupVersion.WithKind("PolicyTest")

// kindByGVK finds the entries of kinds.
var kindByGVK = func() map[schema.GroupVersionKind]*kind {
	out := make(map[schema.GroupVersionKind]*kind, len(kinds))
	for i := range kinds {
		out[kinds[i].gvk] = &kinds[i]
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
