package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DNSHold controls whether DNS answers wait until the kernel has their addresses.
// +kubebuilder:validation:Enum=Always;Never
type DNSHold string

const (
	// DNSHoldAlways makes an answer wait, so that the first packet to a new address passes.
	DNSHoldAlways DNSHold = "Always"
	// DNSHoldNever only observes answers: a client may be faster than the kernel.
	DNSHoldNever DNSHold = "Never"
)

// DNSSpec is how rules by DNS name learn addresses. It bears on endpoints with such
// rules alone.
// +kubebuilder:validation:XValidation:rule="!has(self.minTTL) || !has(self.maxTTL) || duration(self.minTTL) <= duration(self.maxTTL)",message="minTTL must not be longer than maxTTL"
type DNSSpec struct {
	// TrustedServers are the addresses of the DNS servers whose answers count, as
	// clients' packets reach them behind Services, at most 64. Unset means those that
	// serve the cluster: the endpoints of the Services kube-system/kube-dns,
	// openshift-dns/dns-default and kube-system/rke2-coredns-rke2-coredns, NodeLocal
	// DNSCache, and for host endpoints the node's own resolvers. An empty list means
	// none: nothing is learnt.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="must be an address"
	TrustedServers *[]string `json:"trustedServers,omitempty"`
	// ExtraTTL is how long an address stays known beyond the time to live of its answer,
	// for clients that keep answers longer, 0s–24h; default 120s.
	// +optional
	// +kubebuilder:default="120s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="must be from 0s to 24h"
	ExtraTTL *metav1.Duration `json:"extraTTL,omitempty"`
	// MinTTL is what a shorter time to live counts as, 0s–24h; default 10s.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="must be from 0s to 24h"
	MinTTL *metav1.Duration `json:"minTTL,omitempty"`
	// MaxTTL is what a longer time to live counts as, 1s–24h; default 1h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be from 1s to 24h"
	MaxTTL *metav1.Duration `json:"maxTTL,omitempty"`
	// MaxAddressesPerName is how many addresses of a name a node knows at a time,
	// 1–10,000; default 1000. The one that expires first makes room for a new one.
	// +optional
	// +kubebuilder:default=1000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxAddressesPerName *int32 `json:"maxAddressesPerName,omitempty"`
	// MaxNamesPerWildcard is how many names a pattern with * has on a node at a time,
	// 1–65,535; default 1024. The one that was answered longest ago makes room.
	// +optional
	// +kubebuilder:default=1024
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	MaxNamesPerWildcard *int32 `json:"maxNamesPerWildcard,omitempty"`
	// MaxNames is how many names a node knows at a time, 1–1,000,000; default 10000.
	// Names that a rule spells out are not forgotten for the sake of those that only a
	// pattern with * matches.
	// +optional
	// +kubebuilder:default=10000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxNames *int32 `json:"maxNames,omitempty"`
	// Hold: Always (default) has a DNS answer wait until the kernel has its addresses,
	// for a second at most; Never only observes answers, and some first connections to
	// addresses that are new are denied.
	// +optional
	// +kubebuilder:default=Always
	Hold DNSHold `json:"hold,omitempty"`
	// RefuseInternalAddresses has addresses in answers not count that are loopback,
	// link-local (those of metadata services among them), of nodes, of pods, or in the
	// cluster's pod and Service blocks: whoever owns a name decides on its addresses.
	// Default true.
	// +optional
	// +kubebuilder:default=true
	RefuseInternalAddresses *bool `json:"refuseInternalAddresses,omitempty"`
}
