package links

import "net/netip"

// listing is what the kernel lists of a network namespace, as plain values.
type listing struct {
	links  []link
	addrs  []address
	routes []route
	// inside are addresses in the namespaces of pods, for the requested ports.
	inside []insideAddr
	// neighbours and stations are listed only where inside does not suffice.
	neighbours []neighbour
	stations   []station
}

// mac is a hardware address; only those of Ethernet are compared.
type mac [6]byte

// link is an interface.
type link struct {
	index int
	name  string
	// kind as rtnetlink calls it: veth, bridge, vxlan; empty for physical ones.
	kind string
	up   bool
	// master is the index of the bridge that the link is a port of; 0: none.
	master int
	// abroad: the link's peer is in another network namespace, which the kernel
	// numbers namespace; peer is its index there.
	abroad          bool
	namespace, peer int
	// encapsulation, for those kinds that encapsulate.
	encapsulation encapsulation
}

// encapsulation holds the parameters of a tunnel that are visible on the wire.
type encapsulation struct {
	// port is the outer destination port of vxlan, geneve and wireguard; 0: unknown.
	port uint16
	// inner is the protocol that an ip6tnl or sit device carries: 4, 41; 0: any.
	inner uint8
	// within is a UDP encapsulation (FOU, GUE) of an IP tunnel's packets, to
	// withinPort; 0: none.
	within, withinPort uint16
}

// address is an address of the node's own.
type address struct {
	index  int
	prefix netip.Prefix // not masked
}

// route is a route of table main or local.
type route struct {
	local bool // of table local, type local; else of table main, type unicast
	net   netip.Prefix
	// index of the interface; of several the first.
	index    int
	gateway  bool // the destination is not on the link
	priority int
	// learned from the network: by router advertisements or redirects.
	learned bool
}

// insideAddr is an address of the peer of a port.
type insideAddr struct {
	port int
	addr netip.Addr
}

// neighbour is an entry of ARP or neighbour discovery.
type neighbour struct {
	index int
	addr  netip.Addr
	mac   mac
}

// station is an entry of a bridge's forwarding database.
type station struct {
	bridge, port int
	mac          mac
}
