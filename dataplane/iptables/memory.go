package iptables

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// memory is what one generation of rules leaves to the next: what did not change
// is not made again. It is of one Compiler, and of programs of one shape.
type memory struct {
	compiled *dataplane.Compiler
	shape    base.Shape
	inputs   dataplane.Inputs    // of the rules that were made last
	members  map[string]*members // by the ID of the compiler's set
	tables   map[string]*peers   // by ID
	pieces   map[pieceKey]*piece
}

// pieceKey is a program, and the packets that it only counts.
type pieceKey struct {
	program *dataplane.Program
	spare   base.Sparing
}

func newMemory(s *dataplane.State) *memory {
	return &memory{compiled: s.Compiled, shape: base.ShapeOf(s), members: map[string]*members{}, tables: map[string]*peers{}, pieces: map[pieceKey]*piece{}}
}

// members of a set, by family: addresses and blocks, and for sets with ports
// those with a port, and those with all ports of a protocol.
type members struct {
	hash  string
	elems [2][]elem
	nets  [2]bool // there are blocks
	whole [2][]protocolElems
}

type protocolElems struct {
	protocol model.Protocol
	elems    []elem
}

// peers are the addresses and the blocks of a table, by rest, sorted.
type peers struct{ addrs, nets []*group }

// piece is what a program came to: chains, sets and all.
type piece struct {
	chains  map[string][]rule
	tags    map[string][]string
	sets    map[string]*ipset
	effects map[string]effect
	origins map[string]dataplane.Origin
	// denials are the leaves that drop, by the chain that counts the spared packets
	// before: which these are is not the piece's.
	denials map[string]dataplane.Leaf
	// asks are the sets, holds the tables that it was made of.
	asks  map[string]bool
	holds []string
}

func familyIndex(f dataplane.Family) int {
	if f == dataplane.IPv4 {
		return 0
	}
	return 1
}

// forget what a change has made untrue.
func (m *memory) forget(ch *dataplane.Change) {
	sets, tables := map[string]bool{}, map[string]bool{}
	for i := range ch.Sets {
		sc := &ch.Sets[i]
		sets[sc.Set.ID] = true
		if old := m.members[sc.Set.ID]; old != nil && !sc.New && !sc.Gone && old.canChange(sc) {
			m.members[sc.Set.ID] = old.changed(sc)
		} else {
			delete(m.members, sc.Set.ID)
		}
	}
	for i := range ch.Tables {
		id := ch.Tables[i].State.Table.ID
		tables[id] = true
		delete(m.tables, id)
	}
	maps.DeleteFunc(m.pieces, func(k pieceKey, _ *piece) bool { return slices.Contains(ch.Removed, k.program) })
	m.forgetPieces(sets, tables)
}

// forgetPieces forgets what programs came to that ask for sets, or hold tables.
func (m *memory) forgetPieces(sets, tables map[string]bool) {
	if len(sets)+len(tables) == 0 {
		return
	}
	maps.DeleteFunc(m.pieces, func(_ pieceKey, p *piece) bool {
		return slices.ContainsFunc(p.holds, func(id string) bool { return tables[id] }) ||
			anyOf(p.asks, sets)
	})
}

func anyOf(a, b map[string]bool) bool {
	if len(b) < len(a) {
		a, b = b, a
	}
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

// of returns the members of a set.
func (m *memory) of(s *dataplane.Set) *members {
	out := m.members[s.ID]
	if out != nil {
		return out
	}
	out = &members{hash: naming.Hash(s.ID)}
	list := m.compiled.Members(s)
	if s.Kind == index.SetAddrPorts {
		out.takePorts(list)
	} else {
		out.take(list)
	}
	m.members[s.ID] = out
	return out
}

func (m *members) take(list []index.Member) {
	for i := range list {
		f := familyIndex(dataplane.FamilyOf(list[i].Prefix.Addr()))
		m.elems[f] = append(m.elems[f], elemsOf(list[i].Prefix)...)
		m.nets[f] = m.nets[f] || !list[i].Prefix.IsSingleIP()
	}
	for f := range m.elems {
		m.elems[f] = sortElems(m.elems[f])
	}
}

// elemsOf is what a member is in the kernel.
func elemsOf(p netip.Prefix) []elem {
	switch e := (elem{net: p}); {
	case !e.inKernel():
		return nil
	case p.IsSingleIP():
		return []elem{e}
	}
	return blocks(p)
}

func (m *members) takePorts(list []index.Member) {
	var whole [2]map[model.Protocol][]elem
	for i := range list {
		p := &list[i]
		e, f := elem{net: p.Prefix}, familyIndex(dataplane.FamilyOf(p.Prefix.Addr()))
		switch {
		case !e.inKernel():
		case p.Port == 0:
			if whole[f] == nil {
				whole[f] = map[model.Protocol][]elem{}
			}
			whole[f][p.Protocol] = append(whole[f][p.Protocol], e)
		default:
			e.protocol, e.port = p.Protocol, p.Port
			m.elems[f] = append(m.elems[f], e)
		}
	}
	for f := range m.elems {
		m.elems[f] = sortElems(m.elems[f])
		for p, elems := range whole[f] {
			m.whole[f] = append(m.whole[f], protocolElems{p, sortElems(elems)})
		}
		slices.SortFunc(m.whole[f], func(a, b protocolElems) int { return cmp.Compare(a.protocol, b.protocol) })
	}
}

// canChange says whether the members can be had from those before: not where one
// member is several elements, nor with ports.
func (m *members) canChange(sc *dataplane.SetChange) bool {
	plain := func(p index.Member) bool { return p.Prefix.Bits() > 1 }
	return sc.Set.Kind != index.SetAddrPorts &&
		!slices.ContainsFunc(sc.Added, func(p index.Member) bool { return !plain(p) }) &&
		!slices.ContainsFunc(sc.Removed, func(p index.Member) bool { return !plain(p) })
}

func (m *members) changed(sc *dataplane.SetChange) *members {
	out := &members{hash: m.hash}
	var come, gone members
	come.take(sc.Added)
	gone.take(sc.Removed)
	for f := range out.elems {
		if len(come.elems[f])+len(gone.elems[f]) == 0 {
			out.elems[f], out.nets[f] = m.elems[f], m.nets[f]
			continue
		}
		out.elems[f] = mergeElems(m.elems[f], gone.elems[f], come.elems[f])
		out.nets[f] = slices.ContainsFunc(out.elems[f], func(e elem) bool { return !e.net.IsSingleIP() })
	}
	return out
}

// mergeElems returns a sorted list less some elements and with others, both sorted too.
func mergeElems(have, gone, come []elem) []elem {
	out := make([]elem, 0, len(have)+len(come))
	for _, e := range have {
		for len(come) > 0 && come[0].compare(e) < 0 {
			out, come = append(out, come[0]), come[1:]
		}
		for len(gone) > 0 && gone[0].compare(e) < 0 {
			gone = gone[1:]
		}
		leaves := len(gone) > 0 && gone[0] == e
		if len(come) > 0 && come[0] == e {
			come, leaves = come[1:], false
		}
		if !leaves {
			out = append(out, e)
		}
	}
	return append(out, come...)
}
