package answers

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/names"
)

// refuses reports whether no answer may bring an address. With mu held.
func (k *Keeper) refuses(a netip.Addr) bool {
	return !k.config.TakeInternal && (names.Internal(a) != "" || k.opts.Internal != nil && k.opts.Internal(a))
}
