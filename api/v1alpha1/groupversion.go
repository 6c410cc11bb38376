package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every Tierwall kind.
const GroupName = "tierwall.io"

// GroupVersion is the group and version of the kinds in this package.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// SchemeBuilder collects the functions that register this package's kinds.
var SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers this package's kinds with a scheme.
var AddToScheme = SchemeBuilder.AddToScheme

// PolicyTest is omitted: it is a file format, not a kind of the API server.
func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&Tier{}, &TierList{},
		&GlobalNetworkPolicy{}, &GlobalNetworkPolicyList{},
		&NetworkPolicy{}, &NetworkPolicyList{},
		&GlobalNetworkSet{}, &GlobalNetworkSetList{},
		&NetworkSet{}, &NetworkSetList{},
		&HostEndpoint{}, &HostEndpointList{},
		&Tierwall{}, &TierwallList{},
		&NodeReport{}, &NodeReportList{},
		&PodAddressReport{}, &PodAddressReportList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
