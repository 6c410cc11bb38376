package base

import (
	"net/netip"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// Point is where a chain is attached to the way of packets; Nowhere: other
// chains lead to it.
type Point uint8

// The points, in the order in which packets meet them.
const (
	Nowhere Point = iota
	RawPrerouting
	ManglePrerouting
	// LinkPrerouting is behind ManglePrerouting, for backends with PortsAtPostrouting.
	LinkPrerouting
	// HoldInput, HoldForward and HoldOutput are ahead of Input, Forward and Output.
	HoldInput
	Input
	HoldForward
	Forward
	Postrouting
	RawOutput
	HoldOutput
	Output
)

// Chain is one base chain of one IP family.
type Chain struct {
	// Name without family and prefix, at most 20 bytes.
	Name    string
	Comment string
	Point   Point
	// Common is how many of the first Rules are the same in both families: a
	// backend whose hooks see both may try them once.
	Common int
	Rules  []Rule
	// Asked chains are entered by Include: an Accept in them ends the whole hook.
	Asked bool
	// ByAddress: each rule names addresses, so that none matches packets of the other
	// family, or is the same in both. A backend whose hooks see both may write the rules of both into one chain.
	ByAddress bool
}

// Rule does something to packets for which all tests hold.
type Rule struct {
	If   []Test
	Then Action
	// Chain that Jump, Goto and Include lead to.
	Chain string
	// Program of Run, and the packets that it only counts.
	Program *dataplane.Program
	Spare   Sparing
	// Bits of SetMark and ClearMark.
	Bits Mark
	// Direction of ByAddr and ByLink.
	Direction model.Direction
	// Guard that Drop, Count, CheckPort and ByLink count for; empty: none. With
	// Counted CheckPort and ByLink drop nothing for it.
	Guard   model.GuardName
	Counted bool
	Comment string
}

// Action is what a Rule does.
type Action uint8

// The actions.
const (
	// Accept ends the hook: the packet goes on to the tables of others. Not in
	// chains that are jumped to.
	Accept Action = iota
	// Drop ends it all.
	Drop
	// Reset drops and answers with a TCP reset.
	Reset
	// Return leaves the chain for where it was jumped to from.
	Return
	// Jump enters Chain and comes back.
	Jump
	// Goto enters Chain and does not come back.
	Goto
	// Include tries the rules of Chain, which is Asked, as if they stood here.
	Include
	// Run enters Program. What comes back was accepted or, in stages before
	// routing, left open; there Accepted, cleared before, is set in the mark of what
	// was accepted. Elsewhere the mark is left as it was, or Accepted is cleared.
	Run
	// ByAddr enters the program of the local pod that has the address (source for
	// Egress, destination for Ingress).
	ByAddr
	// ByLink enters the program of the local pod behind the interface or port by
	// which the packet comes (Egress) or leaves (Ingress). What comes from pods
	// without policies goes on; where no pod is found behind the interface, it is
	// dropped (with Counted: counted) for Guard, if there is one. ByPort is by the
	// port by which it leaves alone. What the programs of pods deny is subject to SparingOf.
	ByLink
	ByPort
	// BySelf enters what governs of a local pod's program what it sends itself; most
	// pods have no such program.
	BySelf
	// CheckPort does to packets that come by a port of a bridge, which is not the
	// one of their source's pod, what Guard does: drop, or with Counted count.
	CheckPort
	// Count counts for Guard and goes on.
	Count
	// SetMark and ClearMark change Bits of the packet's mark and go on.
	SetMark
	ClearMark
	// Renew has the flow stay in the bar for its whole time again, and goes on.
	Renew
	// NoTrack leaves the packet out of connection tracking and goes on.
	NoTrack
	// Queue has the packet wait in dataplane.AnswerQueue. Once it is accepted it goes on
	// at the next point; so does one that nobody takes.
	Queue
	// Hold renews the switch of dataplane.Answers for the port that the packet goes to,
	// and Release takes it away. The packet goes no further.
	Hold
	Release
)

// Mark is a set of Tierwall's bits of the packet mark.
type Mark uint8

// The bits.
const (
	// Accepted: a program below the chain at hand has accepted.
	Accepted Mark = 1 << iota
	// Early: a policy before routing has allowed the packet.
	Early
)

// Test is a condition of a rule.
type Test struct {
	Kind TestKind
	// Not turns the condition round; only where the kind says so.
	Not bool
	Set Set
	// Name of an interface.
	Name     string
	Net      netip.Prefix
	Protocol model.Protocol
	// Ports are sorted and disjoint.
	Ports []dataplane.PortRange
	// First and Last bound an ICMPv6 type, both included.
	First, Last uint8
	Bits        Mark
	// Exactly is the whole mark.
	Exactly uint32
}

// TestKind is what a Test looks at.
type TestKind uint8

// The kinds of tests.
const (
	// Established: an allowed connection's packet, or one related to it.
	Established TestKind = iota
	// Midstream: a TCP packet that goes on with a connection which the kernel does not know.
	Midstream
	// SCTPMidstream: an SCTP packet that begins neither an association nor a path
	// of one, of no connection that the kernel knows.
	SCTPMidstream
	// Unknown: a packet of no connection that the kernel knows, but one that it was
	// to leave alone.
	Unknown
	// FlowBarred: the flow is in the bar (dataplane.Barrer).
	FlowBarred
	// SYN and INIT begin connections of TCP and SCTP.
	SYN
	INIT
	// SrcIn, DstIn: the address is in Set. May be turned round.
	SrcIn
	DstIn
	// PairIn: source and destination are a pair of Set.
	PairIn
	// LinkIn: incoming interface and source are a pair of Set. May be turned round.
	LinkIn
	// InIs, OutIs: the interface is Name. May be turned round.
	InIs
	OutIs
	// FromLink, ToLink: the packet comes from, or leaves by, a local pod's interface
	// or port; with PortsAtPostrouting the port by which it leaves is ToPort's.
	FromLink
	ToLink
	ToPort
	// SrcLocal, DstLocal: the address is the host's own. May be turned round.
	SrcLocal
	DstLocal
	// SrcNet, DstNet: the address is in Net.
	SrcNet
	DstNet
	// Proto: the protocol is Protocol.
	Proto
	// DstPorts, SrcPorts: the port is in Ports; a Proto stands before.
	DstPorts
	SrcPorts
	// ICMPv6Type: of First to Last.
	ICMPv6Type
	// HopLimit255: the packet has not been routed.
	HopLimit255
	// MarkIs: the mark is Exactly.
	MarkIs
	// Reply: a packet of a connection that has been answered, by who was called.
	Reply
	// Untracked: the packet was left out of connection tracking.
	Untracked
	// Holding: the switch of dataplane.Answers is there for the port that the packet comes from.
	Holding
	// Marked: all of Bits are set. May be turned round.
	Marked
)

// Set names a set of addresses that a backend keeps.
type Set string

// The sets.
const (
	// Pods are the addresses of local pods, Governed those of pods that a policy selects.
	Pods     Set = "pods"
	Governed Set = "guarded"
	// Selves are pairs of addresses of one local pod.
	Selves Set = "self"
	// Own are the node's own addresses and those of its host endpoints.
	Own Set = "hosts"
	// PodBlocks are the node's blocks of pod addresses; Foreign what in them belongs to others.
	PodBlocks Set = "podcidrs"
	Foreign   Set = "foreign"
	// Nodes are the addresses of all nodes of the cluster, ClusterBlocks the blocks of
	// pod addresses of all of them.
	Nodes         Set = "nodes"
	ClusterBlocks Set = "clusterpods"
	// Servers are DNS servers whose answers wait, Named the addresses of local pods whose
	// rules speak of names.
	Servers Set = "dns"
	Named   Set = "named"
	// Bound are addresses of local pods whose interface is known, Sources these
	// interfaces with the addresses.
	Bound   Set = "bound"
	Sources Set = "sources"
)

func on(kind TestKind, s Set) Test       { return Test{Kind: kind, Set: s} }
func notIn(kind TestKind, s Set) Test    { return Test{Kind: kind, Set: s, Not: true} }
func is(kind TestKind) Test              { return Test{Kind: kind} }
func by(kind TestKind, name string) Test { return Test{Kind: kind, Name: name} }
func proto(p model.Protocol) Test        { return Test{Kind: Proto, Protocol: p} }
func marked(m Mark) Test                 { return Test{Kind: Marked, Bits: m} }
func where(tests ...Test) []Test         { return tests }

func port(kind TestKind, p uint16) Test {
	return Test{Kind: kind, Ports: []dataplane.PortRange{{First: p, Last: p}}}
}
