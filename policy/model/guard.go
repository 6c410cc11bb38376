package model

import "strconv"

// Guards drop packets that policies cannot evaluate by their addresses. The zero value
// enforces all of them, like a new installation.
type Guards struct {
	// Source: packets with a local pod's source address must arrive by that pod's
	// interface or port, where it is known, and never from outside.
	Source Guard
	// Link: packets from or to an interface of local pods with addresses that the API
	// does not list are evaluated: link-local sources as the pod's, multicast and
	// broadcast by the receivers' policies, others as unknown workloads.
	Link Guard
	// Encapsulation: pods cannot send to the tunnel ports of cluster nodes.
	Encapsulation Guard
	// Wildcard: a host endpoint "*" also guards the interfaces of local pods.
	Wildcard Guard
	// NoTunnelFailsafe disables the exemption of nodes' own encapsulated traffic from
	// host endpoints' policies.
	NoTunnelFailsafe bool
}

// Guard is the treatment of packets that one of the Guards detects.
type Guard uint8

// The values of a Guard.
const (
	GuardEnforce Guard = iota
	// GuardCount lets them pass and counts them.
	GuardCount
	GuardOff
)

var guardNames = [...]string{"Enforce", "Count", "Off"}

// String is the API's spelling.
func (g Guard) String() string {
	if int(g) < len(guardNames) {
		return guardNames[g]
	}
	return "Guard(" + strconv.Itoa(int(g)) + ")"
}

// GuardName names a guard in metrics, reports and messages.
type GuardName string

// The guards, in the order in which reports list them.
const (
	GuardSourceName        GuardName = "source"
	GuardLinkName          GuardName = "link"
	GuardEncapsulationName GuardName = "encapsulation"
	GuardWildcardName      GuardName = "wildcard"
	// GuardDiscoveryName is neighbour discovery that pods must not send before policy:
	// router advertisements and redirects. It has the mode of the link guard.
	GuardDiscoveryName GuardName = "discovery"
)

// GuardNames are all guards.
var GuardNames = [...]GuardName{GuardSourceName, GuardLinkName, GuardEncapsulationName, GuardWildcardName, GuardDiscoveryName}

// Of returns the treatment of packets that the named guard detects. A name that is not
// one of GuardNames is enforced.
func (g *Guards) Of(n GuardName) Guard {
	switch n {
	case GuardSourceName:
		return g.Source
	case GuardLinkName, GuardDiscoveryName:
		return g.Link
	case GuardEncapsulationName:
		return g.Encapsulation
	case GuardWildcardName:
		return g.Wildcard
	}
	return GuardEnforce
}

// Setting is the field of Tierwall/default that sets the guard.
func (n GuardName) Setting() string {
	if n == GuardDiscoveryName {
		n = GuardLinkName
	}
	return "spec." + string(n) + "Guard"
}

var guardTexts = map[GuardName]string{
	GuardSourceName:        "the source is a local pod's, but the packet does not arrive by its interface",
	GuardLinkName:          "an address that no object lists, on a pod's interface",
	GuardEncapsulationName: "pods cannot send into the tunnels of nodes",
	GuardWildcardName:      "the host endpoint of all interfaces",
	GuardDiscoveryName:     "pods cannot redirect their neighbours",
}

// Text describes in a few words what the guard drops packets for.
func (n GuardName) Text() string { return guardTexts[n] }

// GuardPackets are the packets that a guard has detected since its counters were reset.
type GuardPackets struct {
	// Dropped by the guard in mode Enforce.
	Dropped uint64
	// Counted in mode Count: they passed, and Enforce would have dropped them.
	Counted uint64
}
