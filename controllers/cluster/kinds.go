package cluster

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// kind is a kind that is read.
type kind struct {
	gvr  schema.GroupVersionResource
	kind string
	// ref is what the core calls it.
	ref model.Kind
	// fields is a field selector that leaves out what takes no part; "": none.
	fields string
	// fresh returns an empty object to decode into, for kinds that are
	// CustomResourceDefinitions; nil: the kind is built in.
	fresh func() any
	// foreign kinds are translated.
	foreign bool
	// ours are kinds without which nothing is in sync once their definition is there.
	ours bool
	// aid: its objects only tell sooner what others will tell. What may not be read
	// of it is reported, and waited for by nothing: a right that a new version of
	// the agents needs is granted by the manager, whose pod may need the agents.
	aid bool
	// lazy kinds are read once a policy needs them.
	lazy bool
	// many: a plain list of them comes from the API server's cache, which may lag
	// behind. All others are asked for as they are, so that an agent that starts
	// does not go back to policies that have been replaced.
	many bool
}

// custom says whether the kind is there only with its CustomResourceDefinition.
func (k *kind) custom() bool { return k.fresh != nil }

// crd is the name of the kind's CustomResourceDefinition.
func (k *kind) crd() string { return k.gvr.Resource + "." + k.gvr.Group }

// String is how the kind is called in reports.
func (k *kind) String() string { return k.gvr.GroupResource().String() }

// builtin kinds are those of every cluster.
func builtinKinds() []*kind {
	core, net, disc := corev1.SchemeGroupVersion, networkingv1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion
	return []*kind{
		{gvr: core.WithResource("pods"), kind: "Pod", ref: model.KindPod, many: true,
			fields: "status.phase!=Succeeded,status.phase!=Failed"},
		{gvr: core.WithResource("namespaces"), kind: "Namespace", ref: model.KindNamespace},
		{gvr: core.WithResource("serviceaccounts"), kind: "ServiceAccount", ref: model.KindServiceAccount},
		{gvr: core.WithResource("nodes"), kind: "Node", ref: model.KindNode},
		{gvr: disc.WithResource("endpointslices"), kind: "EndpointSlice", ref: model.KindEndpointSlice, lazy: true, many: true},
		{gvr: net.WithResource("networkpolicies"), kind: "NetworkPolicy", ref: model.KindNetworkPolicy},
	}
}

// customKinds are those that are there with their CustomResourceDefinitions.
func customKinds() []*kind {
	ours := func(resource, name string, ref model.Kind, fresh func() any) *kind {
		return &kind{gvr: v1alpha1.GroupVersion.WithResource(resource), kind: name, ref: ref, fresh: fresh, ours: true}
	}
	out := []*kind{
		ours("tierwalls", "Tierwall", model.KindTierwall, func() any { return &v1alpha1.Tierwall{} }),
		ours("tiers", "Tier", model.KindTier, func() any { return &v1alpha1.Tier{} }),
		ours("globalnetworksets", "GlobalNetworkSet", model.KindGlobalNetworkSet, func() any { return &v1alpha1.GlobalNetworkSet{} }),
		ours("networksets", "NetworkSet", model.KindNetworkSet, func() any { return &v1alpha1.NetworkSet{} }),
		ours("hostendpoints", "HostEndpoint", model.KindHostEndpoint, func() any { return &v1alpha1.HostEndpoint{} }),
		ours("globalnetworkpolicies", "GlobalNetworkPolicy", model.KindGlobalNetworkPolicy, func() any { return &v1alpha1.GlobalNetworkPolicy{} }),
		ours("networkpolicies", "NetworkPolicy", model.KindTierwallNetworkPolicy, func() any { return &v1alpha1.NetworkPolicy{} }),
		{
			gvr: v1alpha1.GroupVersion.WithResource("podaddressreports"), kind: "PodAddressReport", ref: "PodAddressReport",
			fresh: func() any { return &v1alpha1.PodAddressReport{} }, ours: true, aid: true,
		},
		{
			gvr:  schema.GroupVersionResource{Group: clusterv1alpha2.GroupName, Version: "v1alpha2", Resource: "clusternetworkpolicies"},
			kind: "ClusterNetworkPolicy", ref: model.KindClusterNetworkPolicy,
			fresh: func() any { return &clusterv1alpha2.ClusterNetworkPolicy{} },
		},
	}
	// Calico's, in both spellings. Where an object is there in both, the first counts.
	for _, gv := range []schema.GroupVersion{{Group: "projectcalico.org", Version: "v3"}, {Group: "crd.projectcalico.org", Version: "v1"}} {
		for _, k := range []struct{ resource, kind string }{
			{"tiers", "Tier"},
			{"globalnetworksets", "GlobalNetworkSet"},
			{"networksets", "NetworkSet"},
			{"hostendpoints", "HostEndpoint"},
			{"globalnetworkpolicies", "GlobalNetworkPolicy"},
			{"networkpolicies", "NetworkPolicy"},
			{"stagedglobalnetworkpolicies", "StagedGlobalNetworkPolicy"},
			{"stagednetworkpolicies", "StagedNetworkPolicy"},
			{"stagedkubernetesnetworkpolicies", "StagedKubernetesNetworkPolicy"},
			{"felixconfigurations", "FelixConfiguration"},
			{"kubecontrollersconfigurations", "KubeControllersConfiguration"},
		} {
			gvk := gv.WithKind(k.kind)
			out = append(out, &kind{
				gvr: gv.WithResource(k.resource), kind: k.kind, ref: model.Kind(k.kind), foreign: true,
				fresh: func() any { return translate.New(gvk) },
			})
		}
	}
	return out
}
