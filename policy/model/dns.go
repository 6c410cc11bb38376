package model

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tierwall/tierwall/policy/names"
)

// DNS is how the addresses of names that rules speak of are learnt.
type DNS struct {
	// TrustedServers are those whose answers count; nil: those that serve the cluster,
	// and for host endpoints the node's own; empty: none. Sorted and unique.
	TrustedServers []netip.Addr
	// ExtraTTL is added to the time to live of an answer, which MinTTL and MaxTTL bound.
	ExtraTTL, MinTTL, MaxTTL time.Duration
	// MaxAddressesPerName, MaxNamesPerWildcard and MaxNames bound what a node knows.
	MaxAddressesPerName, MaxNamesPerWildcard, MaxNames int
	// ObserveOnly: answers do not wait until the kernel has their addresses.
	ObserveOnly bool
	// TakeInternal: addresses of the cluster and its nodes, loopback and link-local ones
	// count in answers too.
	TakeInternal bool
}

// DefaultDNS is that of a cluster without a Tierwall object.
func DefaultDNS() DNS {
	return DNS{
		ExtraTTL: names.DefaultExtraTTL, MinTTL: names.DefaultMinTTL, MaxTTL: names.DefaultMaxTTL,
		MaxAddressesPerName: names.DefaultMaxAddressesPerName, MaxNamesPerWildcard: names.DefaultMaxNamesPerWildcard, MaxNames: names.DefaultMaxNames,
	}
}

// Same reports whether names are learnt in the same way. No servers and those of the
// cluster are two things.
func (d DNS) Same(o DNS) bool {
	servers := slices.Equal(d.TrustedServers, o.TrustedServers) && (d.TrustedServers == nil) == (o.TrustedServers == nil)
	d.TrustedServers, o.TrustedServers = nil, nil
	return servers && d.plain() == o.plain()
}

// plain is what can be compared by ==.
func (d DNS) plain() [8]int64 {
	flag := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	return [8]int64{
		int64(d.ExtraTTL), int64(d.MinTTL), int64(d.MaxTTL),
		int64(d.MaxAddressesPerName), int64(d.MaxNamesPerWildcard), int64(d.MaxNames), flag(d.ObserveOnly), flag(d.TakeInternal),
	}
}

// NameOptions are those of a names.Table. What it refuses and what is in use is up to
// the caller.
func (d DNS) NameOptions() names.Options {
	none := func(t time.Duration) time.Duration {
		if t == 0 {
			return -1 // as the options have it
		}
		return t
	}
	return names.Options{
		MaxNames: d.MaxNames, MaxAddressesPerName: d.MaxAddressesPerName, MaxNamesPerWildcard: d.MaxNamesPerWildcard,
		MinTTL: none(d.MinTTL), MaxTTL: d.MaxTTL, ExtraTTL: none(d.ExtraTTL),
	}
}
