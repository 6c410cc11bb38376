package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/policy/model"
)

// The kernel's tables that hold rules of ours, in the order in which packets meet them.
const (
	tableRaw    = "raw"
	tableMangle = "mangle"
	tableFilter = "filter"
)

var tableNames = []string{tableRaw, tableMangle, tableFilter}

// hooked are the built-in chains that may lead to ours.
var hooked = map[string][]string{
	tableRaw:    {"PREROUTING", "OUTPUT"},
	tableMangle: {"PREROUTING", "INPUT", "FORWARD", "OUTPUT"},
	tableFilter: {"INPUT", "FORWARD", "OUTPUT"},
}

// rule is one rule of a chain: what it matches, what it does with it, and what
// it is for people.
type rule struct{ match, target, comment string }

// uncommented is the comment of rules that bear none. To the kernel a comment is one
// more match to call, so rules that packets of established connections meet and match go
// without. Their text must be what iptables-save lists: it is by that that they are known.
const uncommented = "\x00"

// tagged is the comment that a rule bears in the kernel: a changed rule is known
// by the tag at its end without reading the rule. Of one without a comment it is the text.
func (r rule) tagged() string {
	if r.comment == uncommented {
		return r.text()
	}
	tag := "#" + naming.Hash(r.match, r.target)[:tagLen]
	if r.comment == "" {
		return tag
	}
	return naming.Plain(r.comment, maxComment-tagLen-2) + " " + tag
}

// isTagged reports whether a string is a comment as tagged makes it, rather than the text
// of a rule that bears none.
func isTagged(s string) bool { return len(s) > tagLen && s[len(s)-tagLen-1] == '#' }

// text is the rule as iptables-restore reads it, less the chain.
func (r rule) text() string {
	parts := make([]string, 0, 3)
	if r.match != "" {
		parts = append(parts, r.match)
	}
	if r.comment != uncommented {
		parts = append(parts, fmt.Sprintf("-m comment --comment %q", r.tagged()))
	}
	if r.target != "" {
		parts = append(parts, r.target)
	}
	return strings.Join(parts, " ")
}

// table is what one of a family's tables should hold of ours.
type table struct {
	// hooks are built-in chains and the chain of ours to which each jumps first.
	hooks  map[string]string
	chains map[string][]rule
	// tags are those of chains that have been asked for.
	tags map[string][]string
}

func newTable() *table {
	return &table{hooks: map[string]string{}, chains: map[string][]rule{}, tags: map[string][]string{}}
}

// tagsOf returns the comments of a chain's rules.
func (t *table) tagsOf(chain string) []string {
	out, ok := t.tags[chain]
	if !ok {
		out = tags(t.chains[chain])
		t.tags[chain] = out
	}
	return out
}

// familyRules is the tables of one family, by name. Those that nothing needs are not there.
type familyRules map[string]*table

// ruleset is all that a State asks for.
type ruleset struct {
	v4, v6 familyRules
	sets   map[string]*ipset // by key
	// effects are what members that enter sets do, by key.
	effects map[string]effect
	// origins are the rules of policies by the chain that counts for them.
	origins map[string]dataplane.Origin
	// early is the bit of the mark of packets that tables before routing have allowed.
	early uint32
	// single: a change never has old and new chains of a table stand side by side.
	single bool

	once  sync.Once
	shown *shape
}

func newRuleset() *ruleset {
	return &ruleset{
		v4: familyRules{}, v6: familyRules{}, sets: map[string]*ipset{},
		effects: map[string]effect{}, origins: map[string]dataplane.Origin{},
	}
}

func (r *ruleset) of(f dataplane.Family) familyRules {
	if f == dataplane.IPv6 {
		return r.v6
	}
	return r.v4
}

// Types of sets.
const (
	typeAddrs = "hash:ip"
	typeNets  = "hash:net"
	typePorts = "hash:ip,port"
	typeLinks = "hash:net,iface"
	typeFlows = "hash:ip,port,ip" // of the bar
	typeHold  = "bitmap:port"     // of the switch of dataplane.Answers
)

// timed is how long elements of sets of a kind stay; 0: until they are taken out.
// Timed ones are no part of a ruleset.
func timed(kind string) time.Duration {
	switch kind {
	case typeFlows:
		return dataplane.BarTime
	case typeHold:
		return dataplane.HoldTime
	}
	return 0
}

// ipset is a set and its elements.
type ipset struct {
	// key is what the set is, name what the kernel calls it: the key and a
	// version, so that a changed set can stand beside the one that rules still ask.
	key, name string
	kind      string
	family    dataplane.Family
	elems     []elem // sorted, without duplicates
}

// elem is an element of a set. Protocol and port are zero but in sets of
// typePorts, link, an interface, is empty but in those of typeLinks.
type elem struct {
	net      netip.Prefix
	protocol model.Protocol
	port     uint16
	link     string
	to       netip.Addr // the flow's destination, in sets of typeFlows
}

func (e elem) compare(o elem) int {
	return cmp.Or(e.net.Addr().Compare(o.net.Addr()), cmp.Compare(e.net.Bits(), o.net.Bits()),
		cmp.Compare(e.protocol, o.protocol), cmp.Compare(e.port, o.port), cmp.Compare(e.link, o.link), e.to.Compare(o.to))
}

// text is the element as the command ipset writes it.
func (e elem) text() string {
	switch {
	case e.protocol != 0:
		return fmt.Sprintf("%s,%s:%d", e.net.Addr(), strings.ToLower(e.protocol.String()), e.port)
	case e.to.IsValid():
		return fmt.Sprintf("%s,%s", e.net.Addr(), e.to)
	case e.link != "":
		return fmt.Sprintf("%s,%s", e.net.Addr(), e.link)
	case e.net.IsSingleIP():
		return e.net.Addr().String()
	}
	return e.net.String()
}

func sortElems(elems []elem) []elem {
	slices.SortFunc(elems, elem.compare)
	return slices.Compact(elems)
}

// single is an element for an address.
func single(a netip.Addr) elem { return elem{net: netip.PrefixFrom(a, a.BitLen())} }

// inKernel says whether the kernel's sets can have an element: no packet comes
// from an IPv4 address in IPv6's clothes, and netlink would take it for IPv4's.
func (e elem) inKernel() bool { return !e.net.Addr().Is4In6() }

// blocks returns elements for a block: the kernel does not take that of all addresses.
func blocks(p netip.Prefix) []elem {
	p = p.Masked()
	if p.Bits() > 0 {
		return []elem{{net: p}}
	}
	low := netip.PrefixFrom(p.Addr(), 1)
	b := p.Addr().AsSlice()
	b[0] = 0x80
	high, _ := netip.AddrFromSlice(b)
	return []elem{{net: low}, {net: netip.PrefixFrom(high, 1)}}
}
