//go:build linux

package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wiring is a veth pair between a place and the wire.
type wiring struct{ near, far *end }

const bridgeName = "cni0"

// The routers' addresses on every link, and the address by which the wire sends
// to the machine behind a link. Link-local, so they collide with no other address.
var (
	router4, router6 = netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::1")
	behind4, behind6 = netip.MustParseAddr("169.254.1.2"), netip.MustParseAddr("fe80::2")
	// cni0's, for pods that are in no pod block.
	bridge4, bridge6 = netip.MustParseAddr("169.254.2.1"), netip.MustParseAddr("fe80::3")
)

func pick(is4 bool, four, six netip.Addr) netip.Addr {
	if is4 {
		return four
	}
	return six
}

// mac makes the link address of an end of a link.
func mac(link uint32, side byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, side, byte(link >> 24), byte(link >> 16), byte(link >> 8), byte(link)}
}

// attach connects a place to the wire and sets default routes up.
func (l *Lab) attach(p *place, name string) (wiring, error) {
	id := l.numbers.nextLink()
	w := wiring{
		near: &end{place: p, name: name, mac: mac(id, 1)},
		far:  &end{place: l.wire, name: fmt.Sprintf("w%d", id), mac: mac(id, 2)},
	}
	if err := connect(w.far, w.near); err != nil {
		return w, err
	}
	for _, is4 := range []bool{true, false} {
		router, behind := pick(is4, router4, router6), pick(is4, behind4, behind6)
		if err := w.far.addr(router); err != nil {
			return w, err
		}
		if err := w.far.neighbour(behind, w.near.mac); err != nil {
			return w, err
		}
		if l.network == Routed {
			if err := w.near.neighbour(router, w.far.mac); err != nil {
				return w, err
			}
		}
	}
	if err := w.near.ready(); err != nil {
		return w, err
	}
	return w, w.far.ready()
}

// own gives the near end an address, and the wire the route to it.
func (w wiring) own(a netip.Addr, network Network) error {
	if err := w.near.addr(a); err != nil {
		return err
	}
	if network == Routed {
		if err := w.far.neighbour(a, w.near.mac); err != nil {
			return err
		}
	}
	return w.far.route(single(a), netip.Addr{}, netip.Addr{})
}

// via lets the wire send an address to the machine behind the link.
func (w wiring) via(a netip.Addr) error {
	return w.far.route(single(a), pick(a.Is4(), behind4, behind6), netip.Addr{})
}

// defaults sends all else to the wire.
func (w wiring) defaults(addrs []netip.Addr) error {
	for _, is4 := range []bool{true, false} {
		if err := w.near.route(everything(is4), pick(is4, router4, router6), of(addrs, is4)); err != nil {
			return err
		}
	}
	return nil
}

// rule sends what is from an address out of the link, by a table of its own.
func (w wiring) rule(a netip.Addr, table int) error {
	r := w.near.toRoute(everything(a.Is4()), pick(a.Is4(), router4, router6), a)
	r.Table = table
	if err := w.near.place.nl.RouteReplace(r); err != nil {
		return w.near.place.wrap(err, "default route of %s", w.near.name)
	}
	// The node's own pods first: all routes but the default one.
	own := netlink.NewRule()
	own.Family, own.Src, own.Table, own.Priority, own.SuppressPrefixlen = family(a), ipNet(single(a)), unix.RT_TABLE_MAIN, 1000, 0
	if err := w.near.place.nl.RuleAdd(own); err != nil {
		return w.near.place.wrap(err, "rule from %s", a)
	}
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table, rule.Priority = family(a), ipNet(single(a)), table, 1001
	return w.near.place.wrap(w.near.place.nl.RuleAdd(rule), "rule from %s", a)
}
