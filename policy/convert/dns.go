package convert

import (
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// maxTTL is the longest of the durations that can be set.
const maxTTL = 24 * time.Hour

// dns reads how names are learnt. What cannot be read takes its default, but for a
// server, which is left out: nothing is learnt from it.
func dns(path *field.Path, in *v1alpha1.DNSSpec, r *report) model.DNS {
	out := model.DefaultDNS()
	if in.TrustedServers != nil {
		out.TrustedServers = []netip.Addr{}
		for i, s := range *in.TrustedServers {
			a, err := netip.ParseAddr(s)
			if err != nil || a.Zone() != "" {
				r.errorf(path.Child("trustedServers").Index(i), "invalid value %s: want an IP address; it is left out", quote(s))
				continue
			}
			out.TrustedServers = append(out.TrustedServers, a.Unmap())
		}
		slices.SortFunc(out.TrustedServers, netip.Addr.Compare)
		out.TrustedServers = slices.Compact(out.TrustedServers)
	}
	duration := func(name string, in *metav1.Duration, least time.Duration, to *time.Duration) {
		switch {
		case in == nil:
		case in.Duration < least || in.Duration > maxTTL:
			r.errorf(path.Child(name), "%s is out of range: want %s to %s", in.Duration, least, maxTTL)
		default:
			*to = in.Duration
		}
	}
	duration("extraTTL", in.ExtraTTL, 0, &out.ExtraTTL)
	duration("minTTL", in.MinTTL, 0, &out.MinTTL)
	duration("maxTTL", in.MaxTTL, time.Second, &out.MaxTTL)
	if out.MinTTL > out.MaxTTL {
		r.errorf(path.Child("minTTL"), "%s is longer than maxTTL, %s; it is read as that", out.MinTTL, out.MaxTTL)
		out.MinTTL = out.MaxTTL
	}
	number := func(name string, in *int32, most int32, to *int) {
		switch {
		case in == nil:
		case *in < 1 || *in > most:
			r.errorf(path.Child(name), "%d is out of range: want 1-%d", *in, most)
		default:
			*to = int(*in)
		}
	}
	number("maxAddressesPerName", in.MaxAddressesPerName, 10_000, &out.MaxAddressesPerName)
	number("maxNamesPerWildcard", in.MaxNamesPerWildcard, 1<<16-1, &out.MaxNamesPerWildcard)
	number("maxNames", in.MaxNames, 1_000_000, &out.MaxNames)
	switch in.Hold {
	case "", v1alpha1.DNSHoldAlways:
	case v1alpha1.DNSHoldNever:
		out.ObserveOnly = true
	default:
		r.errorf(path.Child("hold"), "unsupported value %s: want %s; it is read as Always", quote(string(in.Hold)), list(v1alpha1.DNSHoldAlways, v1alpha1.DNSHoldNever))
	}
	out.TakeInternal = in.RefuseInternalAddresses != nil && !*in.RefuseInternalAddresses
	return out
}
