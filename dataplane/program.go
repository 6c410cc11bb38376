package dataplane

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Family is an IP family. Everything is compiled for each apart.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of an address that is no IPv4-mapped one.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// String is IPv4 or IPv6.
func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// Program is one chain of an effective policy for one family. Immutable:
// membership changes what its tables hold (TableState), never the Program.
type Program struct {
	// ID follows from the content: equal programs have equal IDs, in every process.
	ID       string
	Family   Family
	Segments []Segment
	// Default is what happens if no segment decides.
	Default Leaf

	sets []*Set // Sets()
}

// Segment is one tier's part of a program. A packet that comes to its end goes
// on with the next segment, or with the program's default after the last.
type Segment struct {
	Tier string
	// Rules are tried in turn; nil if there is a Table.
	Rules []Rule
	// Table stands for the rules where they are many.
	Table *Table
	// End is the tier's end: Drop, or Next.
	End Leaf

	rules digest // of the rules
}

// Rule is a condition and what to do where it holds.
type Rule struct {
	// Conds must all hold; none means always.
	Conds []Cond
	Leaf  Leaf
}

// Verdict is what a Leaf does.
type Verdict uint8

const (
	// Continue goes on with the next rule: of Log rules and audited ones.
	Continue Verdict = iota
	// Next skips the rest of the segment: of Pass.
	Next
	// Accept ends the program: the packet may go on.
	Accept
	// Drop ends it all.
	Drop
	// Open ends the program without a verdict, in stages that leave it to a later one.
	Open
)

var verdictNames = [...]string{"continue", "next", "accept", "drop", "open"}

// String is a word for goldens and comments.
func (v Verdict) String() string { return verdictNames[v] }

// Leaf is what happens to a packet, and which rule says so.
type Leaf struct {
	Verdict Verdict
	// Origin is whose packet counter counts; zero for defaults.
	Origin Origin
	// Log is true if the packet is to be logged with the Origin.
	Log bool
	// Before are the Log and audited rules that the packet met on its way to
	// this leaf within a Table; each counts and logs too.
	Before []Mark
}

// Mark is a rule that a packet meets without being decided.
type Mark struct {
	Origin Origin
	Log    bool
}

// Origin names the rule, or the end of a tier, that a leaf is from. Comparable.
type Origin struct {
	Tier      string
	Policy    model.Ref
	Direction model.Direction
	Rule      model.RuleIndex
	Action    model.Action
	Audit     bool
}

// CondKind is what a condition looks at.
type CondKind uint8

// The kinds of conditions.
const (
	// CondProtocol: the protocol is Protocol.
	CondProtocol CondKind = iota
	// CondICMP: the ICMP (of the family's own protocol) type is Type and, if HasCode, the code is Code.
	CondICMP
	// CondSrcPorts, CondDstPorts: the port is in one of Ports. The protocol has ports:
	// a CondProtocol stands beside.
	CondSrcPorts
	CondDstPorts
	// CondSrcAddr, CondDstAddr: the address is in Set.
	CondSrcAddr
	CondDstAddr
	// CondSrcAddrPort, CondDstAddrPort: address, protocol and port are in Set.
	CondSrcAddrPort
	CondDstAddrPort
)

// Cond is a condition of a rule.
type Cond struct {
	Kind CondKind
	// Not turns the condition round.
	Not        bool
	Protocol   model.Protocol
	Type, Code uint8
	HasCode    bool
	Ports      []PortRange // sorted, disjoint, not adjacent
	Set        *Set

	hash *digest // of the Ports, if they are many
}

// PortRange is inclusive.
type PortRange struct{ First, Last uint16 }

// Set is a set of addresses (and blocks), or of addresses with protocol and
// port, in the kernel. It stands for a set of the core, or for the literal
// blocks of a rule.
type Set struct {
	// ID follows from the definition, not from the members.
	ID   string
	Kind index.SetKind
	// Text is the definition for people.
	Text string
	// Nets are the members of a literal set, merged; nil for a set of the core,
	// whose members the Compiler holds.
	Nets []netip.Prefix
}
