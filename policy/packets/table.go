package packets

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Table numbers contents: whatever is equal in two worlds has the same number in both,
// so that comparing numbers shows what has not changed. Evaluators that share a Table
// also share their results. Not safe for concurrent use.
type Table struct {
	halves   map[string]*half
	halfByID []*half
	chains   map[string]*chain
	vectors  interner[[]int32] // what the rules of a half say about an address
	views    interner[[]view]  // what the halves of a chain say about it
	spaces   interner[Space]
	sides    interner[struct{}]
	sights   interner[struct{}] // what many halves say about an address
	frames   []frame
	hits     map[hitsKey][]hit
	results  map[resultKey]*Outcome
	outcomes map[string]*Outcome
	plans    map[string]*Fate // by the steps that lead to them
	fates    map[string]*Fate
	buf      []byte
}

// newTable returns an empty Table.
func newTable() *Table {
	t := &Table{
		halves: map[string]*half{}, chains: map[string]*chain{},
		vectors: newInterner[[]int32](), views: newInterner[[]view](), spaces: newInterner[Space](), sides: newInterner[struct{}](), sights: newInterner[struct{}](),
		hits: map[hitsKey][]hit{}, results: map[resultKey]*Outcome{}, outcomes: map[string]*Outcome{},
		plans: map[string]*Fate{}, fates: map[string]*Fate{},
	}
	t.vectors.id("", nil)                        // noRule
	t.spaces.id("", Space{})                     // noMatch
	t.spaces.id(string(all.AppendKey(nil)), all) // anyPorts
	return t
}

// How one side of a rule sees an address: a number of Table.spaces, two of which are
// fixed.
const (
	noMatch  = 0 // the address is not of this side
	anyPorts = 1 // it is, and this side adds no constraint on ports
)

type interner[T any] struct {
	ids    map[string]int32
	values []T
}

func newInterner[T any]() interner[T] { return interner[T]{ids: map[string]int32{}} }

func (in *interner[T]) id(key string, v T) int32 {
	if id, ok := in.ids[key]; ok {
		return id
	}
	id := int32(len(in.values))
	in.ids[key] = id
	in.values = append(in.values, v)
	return id
}

// noRule is the number of the vectors whose elements are all noMatch.
const noRule = 0

// vector numbers how the rules of a half see an address.
func (t *Table) vector(v []int32) int32 {
	t.buf = t.buf[:0]
	dead := true
	for _, x := range v {
		dead = dead && x == noMatch
		t.buf = binary.LittleEndian.AppendUint32(t.buf, uint32(x))
	}
	if dead {
		return noRule
	}
	if id, ok := t.vectors.ids[string(t.buf)]; ok {
		return id
	}
	return t.vectors.id(string(t.buf), slices.Clone(v))
}

// view is how one half of a chain sees an address on a side on which its rules do not
// see all addresses alike.
type view struct{ pos, vector int32 }

// view numbers the views of a chain: those with noRule are left out.
func (t *Table) view(v []view) int32 {
	t.buf = t.buf[:0]
	for _, x := range v {
		t.buf = binary.AppendUvarint(binary.AppendUvarint(t.buf, uint64(x.pos)), uint64(x.vector))
	}
	if id, ok := t.views.ids[string(t.buf)]; ok {
		return id
	}
	return t.views.id(string(t.buf), slices.Clone(v))
}

// space numbers a space.
func (t *Table) space(s Space) int32 {
	t.buf = s.AppendKey(t.buf[:0])
	if id, ok := t.spaces.ids[string(t.buf)]; ok {
		return id
	}
	return t.spaces.id(string(t.buf), s)
}

// half is one direction of a policy: its rules without the members of the sets
// that they refer to.
type half struct {
	id    int32
	dir   model.Direction
	ref   model.Ref
	audit bool
	rules []rule
	// sides of the rules by number, of source and destination.
	sides [2][]int32
	// indifferent sides see every address alike: fixed is the vector then.
	indifferent [2]bool
	fixed       [2]int32
}

type rule struct {
	index  int // in the source object
	name   string
	action model.Action
	never  bool
	// static is what the rule can match whatever the addresses: an upper bound.
	static Space
}

// half numbers one direction of a policy.
func (t *Table) half(p *index.Policy, dir model.Direction) *half {
	rules := p.Resolved(dir)
	b := t.buf[:0]
	b = fmt.Appendf(b, "%s|%d|%t", p.Ref, dir, p.Audit)
	for i := range rules {
		b = appendRule(b, &rules[i])
	}
	t.buf = b
	key := string(b)
	if h, ok := t.halves[key]; ok {
		return h
	}
	h := &half{id: int32(len(t.halves)), dir: dir, ref: p.Ref, audit: p.Audit, rules: make([]rule, len(rules))}
	for i := range rules {
		r := &rules[i]
		h.rules[i] = rule{r.Index, r.Name, r.Action, r.Match.Never, Static(&r.Match)}
		h.sides[source] = append(h.sides[source], t.sideOf(r, source))
		h.sides[destination] = append(h.sides[destination], t.sideOf(r, destination))
	}
	for side := range h.sides {
		h.indifferent[side] = true
		v := make([]int32, len(rules))
		for i := range rules {
			m := &rules[i].Match
			peer := &m.Source
			if side == destination {
				peer = &m.Destination
			}
			if h.indifferent[side] = h.indifferent[side] && (m.Never || m.IPVersion == 0 && indifferent(peer)); !m.Never {
				v[i] = anyPorts
			}
		}
		h.fixed[side] = t.vector(v)
	}
	t.halves[key] = h
	t.halfByID = append(t.halfByID, h)
	return h
}

// indifferent reports whether a peer contains nothing that depends on the address.
func indifferent(p *model.Peer) bool {
	return p.Nets == nil && len(p.NotNets) == 0 && p.Selector == nil && p.NotSelector == nil &&
		p.Service == (model.ServiceRef{}) && p.Domains == nil && !anyNamed(p.Ports) && !anyNamed(p.NotPorts)
}

// sideOf numbers one side of a rule: sides with equal numbers see every address alike.
func (t *Table) sideOf(r *index.Rule, side int) int32 {
	m := &r.Match
	b := fmt.Appendf(t.buf[:0], "%d %t %d", side, m.Never, m.IPVersion)
	if side == source {
		b = appendPeer(b, &m.Source, &r.Source)
	} else {
		b = appendPeer(b, &m.Destination, &r.Destination)
	}
	t.buf = b
	return t.sides.id(string(b), struct{}{})
}

// appendRule writes everything in a rule that affects verdicts.
func appendRule(b []byte, r *index.Rule) []byte {
	m := &r.Match
	b = fmt.Appendf(b, "\n%d %q %d %t %d %d %d", r.Index, r.Name, r.Action, m.Never, m.IPVersion, m.Protocol, m.NotProtocol)
	b = appendICMP(b, m.ICMP)
	b = appendICMP(b, m.NotICMP)
	b = appendPeer(b, &m.Source, &r.Source)
	return appendPeer(b, &m.Destination, &r.Destination)
}

func appendICMP(b []byte, m *model.ICMP) []byte {
	switch {
	case m == nil:
		return append(b, " -"...)
	case m.Code == nil:
		return fmt.Appendf(b, " %d", m.Type)
	}
	return fmt.Appendf(b, " %d/%d", m.Type, *m.Code)
}

func appendPeer(b []byte, p *model.Peer, s *index.PeerSets) []byte {
	b = append(b, '[')
	if p.Nets != nil {
		b = appendNets(append(b, " in"...), p.Nets)
	}
	b = appendNets(append(b, " not"...), p.NotNets)
	for _, set := range []*index.Set{s.Selector, s.NotSelector, s.Service, s.Domains} {
		b = appendSet(b, set)
	}
	if p.Service != (model.ServiceRef{}) {
		b = fmt.Appendf(b, " %s/%s %t", p.Service.Namespace, p.Service.Name, p.ServicePorts)
	}
	b = appendPorts(b, p.Ports, s.NamedPorts)
	b = appendPorts(b, p.NotPorts, s.NotNamedPorts)
	return append(b, ']')
}

func appendNets(b []byte, nets []netip.Prefix) []byte {
	for _, n := range nets {
		b = n.AppendTo(append(b, ' '))
	}
	return b
}

func appendSet(b []byte, s *index.Set) []byte {
	if s == nil {
		return append(b, " -"...)
	}
	return fmt.Appendf(b, " %q", s.ID())
}

func appendPorts(b []byte, ports []model.Port, named []*index.Set) []byte {
	if ports == nil {
		return append(b, " -"...)
	}
	b = append(b, " ("...)
	for _, p := range ports {
		b = fmt.Appendf(b, "%d-%d %q,", p.First, p.Last, p.Name)
	}
	for _, s := range named {
		b = appendSet(b, s)
	}
	return append(b, ')')
}

// chain is an index.Chain in one direction, by content.
type chain struct {
	id    int32
	dir   model.Direction
	tiers []tier
	// halves of all tiers, in order.
	halves []*half
	// steady are the positions of the halves that are indifferent to the source.
	steady []int32
}

type tier struct {
	name     string
	def      model.Action
	enforced bool
	halves   []*half
	start    int       // position of the first half in the chain
	last     model.Ref // the last enforced policy
}

// chain numbers a chain, given how to number the halves of its policies.
func (t *Table) chain(c index.Chain, dir model.Direction, numbered func(*index.Policy, model.Direction) *half) *chain {
	n := &chain{dir: dir}
	key := []byte{byte(dir)}
	for i := range c {
		tc := &c[i]
		ti := tier{start: len(n.halves), name: tc.Tier.Name, def: tc.Tier.DefaultAction, enforced: tc.Enforced}
		key = fmt.Appendf(key, "\n%q %d %t", ti.name, ti.def, ti.enforced)
		for _, p := range tc.Policies {
			h := numbered(p, dir)
			if h.indifferent[source] && h.fixed[source] != noRule {
				n.steady = append(n.steady, int32(len(n.halves)))
			}
			ti.halves = append(ti.halves, h)
			n.halves = append(n.halves, h)
			if !p.Audit {
				ti.last = p.Ref
			}
			key = binary.LittleEndian.AppendUint32(append(key, ' '), uint32(h.id))
		}
		n.tiers = append(n.tiers, ti)
	}
	if old, ok := t.chains[string(key)]; ok {
		return old
	}
	n.id = int32(len(t.chains))
	t.chains[string(key)] = n
	return n
}
