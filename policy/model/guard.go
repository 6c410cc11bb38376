package model

import "strconv"

// Guards are what denies packets that no policy governs by their addresses.
// The zero value enforces all of them, as a new installation does.
type Guards struct {
	// Source: a local pod's source address must come by that pod's interface or
	// port, where it is known, and never from outside.
	Source Guard
	// Link: what comes from or goes to an interface of local pods with addresses
	// that the API does not list is judged: link-local sources as their pod's,
	// multicast and broadcast by the receivers' policies, others as unknown workloads.
	Link Guard
	// Encapsulation: pods do not send to the tunnel ports of cluster nodes.
	Encapsulation Guard
	// Wildcard: a host endpoint "*" guards the interfaces of local pods too.
	Wildcard Guard
	// NoTunnelFailsafe takes away that nodes' own encapsulated traffic passes host
	// endpoints' policies.
	NoTunnelFailsafe bool
}

// Guard is what becomes of packets that one of the Guards finds.
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
	// GuardDiscoveryName is neighbour discovery that pods must not send before
	// policy: router advertisements and redirects. It has the mode of the link guard.
	GuardDiscoveryName GuardName = "discovery"
)

// GuardNames are all guards.
var GuardNames = [...]GuardName{GuardSourceName, GuardLinkName, GuardEncapsulationName, GuardWildcardName, GuardDiscoveryName}

// Of returns what becomes of packets that the named guard finds. A name that is
// not one of GuardNames is enforced.
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
	GuardSourceName:        "the source is a local pod's, and the packet does not come by its interface",
	GuardLinkName:          "an address that no object lists, by a pod's interface",
	GuardEncapsulationName: "pods send nothing into the tunnels of nodes",
	GuardWildcardName:      "the host endpoint of all interfaces",
	GuardDiscoveryName:     "pods do not redirect their neighbours",
}

// Text says in a few words what the guard drops packets for.
func (n GuardName) Text() string { return guardTexts[n] }

// GuardPackets are the packets that a guard has met, since its counters began.
type GuardPackets struct {
	// Dropped by the guard in mode Enforce.
	Dropped uint64
	// Counted in mode Count: they passed, and Enforce would have dropped them.
	Counted uint64
}
