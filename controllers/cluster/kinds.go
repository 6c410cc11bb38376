package cluster

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// kind is a kind that is read.
type kind struct {
	gvr  schema.GroupVersionResource
	kind string
	// ref is the core's name of the kind.
	ref model.Kind
	// named are the names of the objects that take part; nil: all do.
	named map[string]bool
	// fields is a field selector that leaves out what takes no part; "": none.
	fields string
	// fresh returns an empty object to decode into, for kinds that are
	// CustomResourceDefinitions; nil: the kind is built in.
	fresh func() any
	// foreign kinds are translated.
	foreign bool
	// ours are kinds without which nothing is in sync once their definition is there.
	ours bool
	// aid: its objects only bring sooner what others will bring. What may not be read
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

// custom reports whether the kind is there only with its CustomResourceDefinition.
func (k *kind) custom() bool { return k.fresh != nil }

// crd is the name of the kind's CustomResourceDefinition.
func (k *kind) crd() string { return k.gvr.Resource + "." + k.gvr.Group }

// String is how the kind is called in reports.
func (k *kind) String() string { return k.gvr.GroupResource().String() }

// read is a kind that the core takes.
func read(ref model.Kind) *kind {
	k := convert.KindFor(ref)
	return &kind{gvr: k.GroupVersion().WithResource(k.Resource), kind: k.Kind, ref: ref}
}

// builtinKinds are those of every cluster.
func builtinKinds() []*kind {
	pods, slices := read(model.KindPod), read(model.KindEndpointSlice)
	pods.many, pods.fields = true, "status.phase!=Succeeded,status.phase!=Failed"
	slices.many, slices.lazy = true, true
	return []*kind{pods, read(model.KindNamespace), read(model.KindServiceAccount), read(model.KindNode), slices, read(model.KindNetworkPolicy)}
}

// customKinds are those that are there with their CustomResourceDefinitions.
func customKinds() []*kind {
	var out []*kind
	for _, ref := range []model.Kind{
		model.KindTierwall, model.KindTier, model.KindGlobalNetworkSet, model.KindNetworkSet, model.KindHostEndpoint,
		model.KindGlobalNetworkPolicy, model.KindTierwallNetworkPolicy, model.KindClusterNetworkPolicy,
	} {
		k, fresh := read(ref), convert.KindFor(ref).New
		k.fresh = func() any { return fresh() }
		k.ours = k.gvr.Group == v1alpha1.GroupVersion.Group
		out = append(out, k)
	}
	out = append(out, &kind{
		gvr: v1alpha1.GroupVersion.WithResource("podaddressreports"), kind: "PodAddressReport", ref: "PodAddressReport",
		fresh: func() any { return &v1alpha1.PodAddressReport{} }, ours: true, aid: true,
	})
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
