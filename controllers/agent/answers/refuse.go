package answers

import (
	"net/netip"
	"slices"
)

// internal are blocks of which no address is one of the outside, wherever the node is:
// this host, links, the metadata of clouds among them, and multicast.
var internal = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("100.100.100.200/32"), // metadata
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	netip.MustParsePrefix("fd00:ec2::254/128"), // metadata
}

// refuses reports whether no answer may bring an address. With mu held.
func (k *Keeper) refuses(a netip.Addr) bool {
	if k.config.TakeInternal {
		return false
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(internal, in) || k.opts.Internal != nil && k.opts.Internal(a) || slices.ContainsFunc(k.config.Refuse, in)
}
