package base

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// Tables are the base chains of one family, by when packets meet them. Chains of
// one name are the same in all three.
type Tables struct{ Raw, Mangle, Filter []Chain }

// Options are what backends differ in.
type Options struct {
	// PortsAtPostrouting: the backend has a table of the bridge's own, which checks
	// the ports of sources. To the hooks of IP the port by which a bridged packet
	// leaves is known only after forward, and that by which a routed IPv4 packet
	// came only before it.
	PortsAtPostrouting bool
	// NoPairs: the backend has no set of pairs of addresses. What a pod sends itself
	// it tells where the pod's address leads to its program (ByAddr), and by chains
	// where a rule looks for Selves.
	NoPairs bool
	// NoQueue: the kernel has no queue that answers could wait in.
	NoQueue bool
}

// New returns the base chains of a node for a family. Hosts are its host
// endpoints, sorted by name.
func New(s *dataplane.State, hosts dataplane.Hosts, f dataplane.Family, o Options) *Tables {
	b := &builder{facts: facts{state: s, hosts: hosts, family: f, opts: o, settings: s.Settings}}
	if b.settings == nil {
		b.settings = model.DefaultSettings()
	}
	b.blocks = slices.ContainsFunc(s.PodCIDRs, b.ofFamily)
	b.raw()
	b.mangle()
	b.hold()
	b.linkPrerouting()
	b.input()
	b.forward()
	b.postrouting()
	b.output()
	return &b.tables
}

// facts are what the chains of a node depend on. Their methods answer questions and
// return rules; a builder's write chains.
type facts struct {
	state    *dataplane.State
	hosts    dataplane.Hosts
	family   dataplane.Family
	settings *model.Settings
	opts     Options
	// blocks: the node has blocks of pod addresses of the family.
	blocks bool
}

// builder writes the chains of one family.
type builder struct {
	facts
	tables Tables
	// to is the list of the table that is being written.
	to *[]Chain
}

func (b *facts) ofFamily(p netip.Prefix) bool { return dataplane.FamilyOf(p.Addr()) == b.family }

func (b *facts) ipv6() bool { return b.family == dataplane.IPv6 }

// chain writes a chain that others lead to.
func (b *builder) chain(name, comment string, rules ...Rule) {
	*b.to = append(*b.to, Chain{Name: name, Comment: comment, Rules: rules})
}

// asked writes a chain for Include, once a table.
func (b *builder) asked(name, comment string, rules ...Rule) {
	if !slices.ContainsFunc(*b.to, func(c Chain) bool { return c.Name == name }) {
		*b.to = append(*b.to, Chain{Name: name, Comment: comment, Rules: rules, Asked: true})
	}
}

// hook writes a chain at a point; the first rules are common to both families.
func (b *builder) hook(p Point, name, comment string, common []Rule, rules ...Rule) {
	*b.to = append(*b.to, Chain{Name: name, Comment: comment, Point: p, Common: len(common), Rules: append(common, rules...)})
}

// Links reports whether where local pods are attached is known of some of them.
func Links(s *dataplane.State) bool { return s.Links != nil && len(s.Links.Pods) > 0 }

// judgesLinks reports whether unlisted addresses on pods' links are dealt with, in whatever way.
func (b *facts) judgesLinks() bool {
	return Links(b.state) && b.settings.Guards.Link != model.GuardOff
}

// countsLinks reports whether the link guard counts and lets pass.
func (b *facts) countsLinks() bool {
	return b.judgesLinks() && b.settings.Guards.Link == model.GuardCount
}

// guarded is what a guard does to packets.
func (b *facts) guarded(name model.GuardName, g model.Guard, tests []Test, comment string) []Rule {
	switch g {
	case model.GuardEnforce:
		return []Rule{{If: tests, Then: Drop, Guard: name, Comment: comment}}
	case model.GuardCount:
		return []Rule{{If: tests, Then: Count, Guard: name, Comment: comment + ", counted only"}}
	}
	return nil
}

var established = Rule{If: where(is(Established)), Then: Accept, Comment: "connections that are allowed already"}

// Comments of rules that let pass what no policy before routing judges, or what
// one has allowed.
const (
	commentEarly     = "allowed before routing"
	commentUntracked = "allowed untracked"
	commentOwnPods   = "the node to its own pods"
	commentFailsafe  = "failsafe"
	commentTunnels   = "tunnels between nodes"
)

// Unjudged are these comments, for backends whose tables change one after the other.
var Unjudged = []string{commentEarly, commentUntracked, commentOwnPods, commentFailsafe, commentTunnels}
