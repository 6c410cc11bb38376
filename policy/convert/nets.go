package convert

import (
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// netForm says how an address block may be written.
type netForm bool

const (
	cidrOnly      netForm = false // native and cluster policies
	cidrOrAddress netForm = true  // Tierwall kinds: an address is a block of one
)

// parseNet reads an address block and masks its host bits. The second result
// reports whether there were any.
func parseNet(s string, form netForm) (netip.Prefix, bool, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, aerr := netip.ParseAddr(s)
		switch {
		case aerr == nil && a.Zone() != "":
			return netip.Prefix{}, false, fmt.Errorf("%s has a zone, which an address block cannot have", quote(s))
		case aerr == nil && form == cidrOrAddress:
			a = a.Unmap()
			return netip.PrefixFrom(a, a.BitLen()), false, nil
		case aerr == nil:
			a = a.Unmap()
			return netip.Prefix{}, false, fmt.Errorf("%s is an address, not an address block: want CIDR form, here %s/%d", quote(s), a, a.BitLen())
		}
		return netip.Prefix{}, false, fmt.Errorf("invalid value %s: want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8", quote(s))
	}
	if a := p.Addr(); a.Is4In6() {
		// Below 96 bits the block spans more than the IPv4 addresses.
		if p.Bits() < 96 {
			return netip.Prefix{}, false, fmt.Errorf("%s is an IPv4-mapped IPv6 block of fewer than 96 bits: want IPv4 or plain IPv6", quote(s))
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	m := p.Masked()
	return m, m != p, nil
}

// parseAddr reads an address that a host or pod can have.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("invalid value %s: want an IP address", quote(s))
	}
	a = a.Unmap()
	switch {
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%s has a zone: want a plain IP address", quote(s))
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast():
		return netip.Addr{}, fmt.Errorf("invalid value %s: want the address of one endpoint, neither unspecified, loopback nor multicast", quote(s))
	}
	return a, nil
}

// appendAddr appends an address unless it is there.
func appendAddr(addrs []netip.Addr, a netip.Addr) []netip.Addr {
	if slices.Contains(addrs, a) {
		return addrs
	}
	return append(addrs, a)
}

// nets reads a list of address blocks, the field name of parent. Those that do
// not parse are reported and left out.
func (r *report) nets(parent *field.Path, name string, in []string, form netForm) []netip.Prefix {
	if len(in) == 0 {
		return nil
	}
	path := parent.Child(name)
	out := make([]netip.Prefix, 0, len(in))
	var seen map[netip.Prefix]bool
	if len(in) > 1 {
		seen = make(map[netip.Prefix]bool, len(in))
	}
	for i, s := range in {
		p, hostBits, err := parseNet(s, form)
		if err != nil {
			r.errorf(path.Index(i), "%v", err)
			continue
		}
		if hostBits {
			r.warnf(path.Index(i), "%s has bits beyond its prefix length: it is read as %s", quote(s), p)
		}
		if seen[p] {
			r.warnf(path.Index(i), "duplicate value %s", p)
			continue
		}
		if seen != nil {
			seen[p] = true
		}
		out = append(out, p)
	}
	return out
}

// family checks that all address blocks of a rule are of one IP version.
type family struct {
	version uint8
	because string // what fixed the version
}

// check is for the blocks in the field name of one side of a rule.
func (f *family) check(r *report, rule *field.Path, side, name string, nets []netip.Prefix) {
	for _, p := range nets {
		v := uint8(4)
		if p.Addr().Is6() {
			v = 6
		}
		switch f.version {
		case v:
		case 0:
			f.version, f.because = v, fmt.Sprintf("%s of %s.%s", p, side, name)
		default:
			r.errorf(rule.Child(side, name), "%s is IPv%d, but %s makes this a rule for IPv%d: a rule applies to one IP version", p, v, f.because, f.version)
			return
		}
	}
}
