//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// place is a namespace of the lab: the wire, a node, a pod or a host outside.
type place struct {
	name string
	ns   *namespace
	nl   *netlink.Handle

	// mu guards what follows.
	mu        sync.Mutex
	closed    bool
	sockets   map[socketKey]*rawSocket
	listeners map[listenerKey]*listener
	senders   [2]int // raw sockets for IPv4 and IPv6; 0: not open
	groups    []int  // sockets that are members of multicast groups
	ct        *conntrack
}

var errGone = errors.New("it is gone from the lab")

func newPlace(name string, settings sysctls) (*place, error) {
	ns, err := newNamespace(settings)
	if err != nil {
		return nil, err
	}
	p := &place{name: name, ns: ns, sockets: map[socketKey]*rawSocket{}, listeners: map[listenerKey]*listener{}}
	if p.nl, err = netlink.NewHandleAt(netns.NsHandle(ns.file.Fd()), unix.NETLINK_ROUTE); err != nil {
		ns.close()
		return nil, fmt.Errorf("lab: %s: cannot open a netlink socket: %w", name, err)
	}
	if err := p.up("lo"); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// close gives up all that keeps the namespace alive.
func (p *place) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for _, s := range p.sockets {
		s.close()
	}
	for _, l := range p.listeners {
		if l.fd >= 0 {
			shut(l.fd)
		}
	}
	for _, fd := range p.groups {
		shut(fd)
	}
	for _, fd := range p.senders {
		if fd != 0 {
			shut(fd)
		}
	}
	if p.ct != nil {
		p.ct.close()
	}
	p.nl.Close()
	p.ns.close()
}

// up sets an interface up.
func (p *place) up(name string) error {
	l, err := p.nl.LinkByName(name)
	if err == nil {
		err = p.nl.LinkSetUp(l)
	}
	return p.wrap(err, "interface %s", name)
}

// wrap adds to an error where it happened, and at what.
func (p *place) wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lab: %s: %s: %w", p.name, fmt.Sprintf(format, args...), err)
}

// end is one end of a veth pair, or a bridge.
type end struct {
	place *place
	name  string
	index int
	mac   net.HardwareAddr
}

// connect makes a veth pair and sets both ends up.
func connect(a, b *end) error {
	v := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: a.name, HardwareAddr: a.mac},
		PeerName:         b.name,
		PeerHardwareAddr: b.mac,
		PeerNamespace:    netlink.NsFd(b.place.ns.file.Fd()),
	}
	if err := a.place.nl.LinkAdd(v); err != nil {
		return a.place.wrap(err, "veth %s to %s", a.name, b.place.name)
	}
	a.index = v.Attrs().Index
	l, err := b.place.nl.LinkByName(b.name)
	if err != nil {
		return b.place.wrap(err, "interface %s", b.name)
	}
	b.index = l.Attrs().Index
	if err := b.place.nl.LinkSetUp(l); err != nil {
		return b.place.wrap(err, "interface %s", b.name)
	}
	return a.place.wrap(a.place.nl.LinkSetUp(v), "interface %s", a.name)
}

// ready waits for the kernel to have the interface's queue in place, which it
// does a moment after both ends are up; packets sent before are dropped.
func (e *end) ready() error {
	deadline := time.Now().Add(time.Minute)
	for {
		l, err := e.place.nl.LinkByIndex(e.index)
		if err != nil {
			return e.place.wrap(err, "interface %s", e.name)
		}
		if l.Attrs().OperState == netlink.OperUp {
			// The state is said before the queue is in place, both under the lock that
			// this no-op takes.
			return e.place.wrap(e.place.nl.LinkSetUp(l), "interface %s", e.name)
		}
		if time.Now().After(deadline) {
			return e.place.wrap(fmt.Errorf("still %s after a minute", l.Attrs().OperState), "interface %s", e.name)
		}
		time.Sleep(time.Millisecond)
	}
}

// addr gives the interface an address that only it has.
func (e *end) addr(a netip.Addr) error { return e.prefix(netip.PrefixFrom(a, a.BitLen())) }

// prefix gives the interface an address with the prefix that is on its link.
func (e *end) prefix(p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	err := e.place.nl.AddrAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: e.index}}, addr)
	if err == nil && p.Addr().Is6() {
		err = e.place.local(p.Addr())
	}
	return e.place.wrap(err, "interface %s: address %s", e.name, p)
}

// local waits for a new IPv6 address to be the namespace's own: the kernel
// completes it a moment later, even if it need not look for duplicates.
func (p *place) local(a netip.Addr) error {
	deadline := time.Now().Add(time.Minute)
	for {
		routes, err := p.nl.RouteGet(a.AsSlice())
		if err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(errors.New("not usable after a minute"), err)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func (e *end) removeAddr(p netip.Prefix) error {
	err := e.place.nl.AddrDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: e.index}}, &netlink.Addr{IPNet: ipNet(p)})
	return e.place.wrap(err, "interface %s: address %s", e.name, p)
}

// route sends what is for dst out of the interface: by the gateway if it is
// valid, from the source address if that is.
func (e *end) route(dst netip.Prefix, gateway, source netip.Addr) error {
	return e.place.wrap(e.place.nl.RouteReplace(e.toRoute(dst, gateway, source)), "route %s", dst)
}

func (e *end) toRoute(dst netip.Prefix, gateway, source netip.Addr) *netlink.Route {
	r := &netlink.Route{LinkIndex: e.index, Dst: ipNet(dst), Family: family(dst.Addr())}
	if gateway.IsValid() {
		r.Gw, r.Flags = gateway.AsSlice(), int(netlink.FLAG_ONLINK)
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	if source.IsValid() {
		r.Src = source.AsSlice()
	}
	return r
}

func (e *end) removeRoute(dst netip.Prefix) error {
	return e.place.wrap(e.place.nl.RouteDel(&netlink.Route{LinkIndex: e.index, Dst: ipNet(dst), Family: family(dst.Addr()), Scope: netlink.SCOPE_NOWHERE}), "route %s", dst)
}

// neighbour fixes the link address of an address beyond the interface.
func (e *end) neighbour(a netip.Addr, mac net.HardwareAddr) error {
	err := e.place.nl.NeighSet(&netlink.Neigh{LinkIndex: e.index, Family: family(a), State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac})
	return e.place.wrap(err, "neighbour %s", a)
}

func (e *end) removeNeighbour(a netip.Addr) {
	_ = e.place.nl.NeighDel(&netlink.Neigh{LinkIndex: e.index, Family: family(a), IP: a.AsSlice()})
}

// blackhole drops what no route is for, in silence.
func (p *place) blackhole() error {
	for _, all := range []netip.Prefix{all4, all6} {
		r := &netlink.Route{Dst: ipNet(all), Family: family(all.Addr()), Type: unix.RTN_BLACKHOLE}
		if err := p.nl.RouteAdd(r); err != nil && !(all.Addr().Is6() && errors.Is(err, unix.EOPNOTSUPP)) {
			return p.wrap(err, "blackhole %s", all)
		}
	}
	return nil
}

var (
	all4 = netip.MustParsePrefix("0.0.0.0/0")
	all6 = netip.MustParsePrefix("::/0")
)

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func everything(is4 bool) netip.Prefix {
	if is4 {
		return all4
	}
	return all6
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// shut closes a file descriptor of a socket, which cannot fail in a way that matters.
func shut(fd int) { _ = unix.Close(fd) }
