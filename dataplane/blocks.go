package dataplane

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// blockMap is the blocks of some sets, cut into disjoint ranges. Tables that ask
// for the same sets with blocks share one. Immutable: when a set's blocks change,
// its tables get others.
type blockMap struct {
	key    string
	refs   int
	ranges []blockRange // sorted
	lasts  []addrKey    // of the ranges, to search in
	combos [][]uint32   // sets' numbers, sorted
	// crowded is true if the blocks lie in so many sets at once that nothing is cut:
	// there are no ranges.
	crowded bool
}

// crowd is how many sets the ranges of some edges of blocks may be in, all
// together, so that they are cut: a few each, and more where they are few.
func crowd(edges int) int { return 4*edges + 1<<18 }

// blockRange is a range of addresses, both ends included, of a combination of sets.
type blockRange struct {
	first, last netip.Addr
	combo       uint32
}

// addrKey is an address that compares fast with others of its family.
type addrKey struct{ high, low uint64 }

func keyOf(a netip.Addr) addrKey {
	if a.Is4() {
		b := a.As4()
		return addrKey{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return addrKey{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (k addrKey) less(o addrKey) bool { return k.high < o.high || k.high == o.high && k.low < o.low }

// noCombo is where no block is.
const noCombo = ^uint32(0)

// blockMapOf returns the blocks of a family in some of the sets (by number), or
// nil if these have none, and holds them.
func (c *setStore) blockMapOf(sets []uint32, f int) *blockMap {
	key := []byte{byte(f)}
	var with []uint32
	for _, n := range sets {
		if b := &c.numbered[n].blocks[f]; len(b.nets) > 0 {
			with = append(with, n)
			key = binary.BigEndian.AppendUint32(key, n)
			key = binary.BigEndian.AppendUint64(key, b.version)
		}
	}
	if len(with) == 0 {
		return nil
	}
	m := c.blocks[string(key)]
	if m == nil {
		m = c.newBlockMap(with, f)
		m.key = string(key)
		c.blocks[m.key] = m
	}
	m.refs++
	return m
}

func (c *setStore) releaseBlocks(m *blockMap) {
	if m == nil {
		return
	}
	if m.refs--; m.refs == 0 {
		delete(c.blocks, m.key)
	}
}

// blockEdge is where a block of a set begins, or the first address past it.
type blockEdge struct {
	key   addrKey
	at    netip.Addr
	set   uint32
	begin bool
}

func (c *setStore) newBlockMap(sets []uint32, f int) *blockMap {
	n := 0
	for _, set := range sets {
		n += len(c.numbered[set].blocks[f].nets)
	}
	edges := make([]blockEdge, 0, 2*n)
	for _, n := range sets {
		for _, p := range c.numbered[n].blocks[f].nets {
			edges = append(edges, blockEdge{keyOf(p.Addr()), p.Addr(), n, true})
			if next := LastAddr(p).Next(); next.IsValid() {
				edges = append(edges, blockEdge{keyOf(next), next, n, false})
			}
		}
	}
	slices.SortFunc(edges, func(a, b blockEdge) int {
		return cmp.Or(cmp.Compare(a.key.high, b.key.high), cmp.Compare(a.key.low, b.key.low))
	})
	m := &blockMap{}
	combos := map[string]uint32{}
	open := map[uint32]int{}
	room := crowd(len(edges))
	for i := 0; i < len(edges); {
		at := edges[i].at
		for ; i < len(edges) && edges[i].at == at; i++ {
			e := &edges[i]
			if e.begin {
				open[e.set]++
			} else if open[e.set]--; open[e.set] == 0 {
				delete(open, e.set)
			}
		}
		if len(open) == 0 {
			continue
		}
		if room -= len(open); room < 0 {
			return &blockMap{crowded: true}
		}
		last := maxAddr(families[f])
		if i < len(edges) {
			last = edges[i].at.Prev()
		}
		combo := m.combo(open, combos)
		if n := len(m.ranges); n > 0 && m.ranges[n-1].combo == combo && m.ranges[n-1].last.Next() == at {
			m.ranges[n-1].last = last
		} else {
			m.ranges = append(m.ranges, blockRange{at, last, combo})
		}
	}
	m.lasts = make([]addrKey, len(m.ranges))
	for i := range m.ranges {
		m.lasts[i] = keyOf(m.ranges[i].last)
	}
	return m
}

// combo returns the number of a combination of sets.
func (m *blockMap) combo(open map[uint32]int, combos map[string]uint32) uint32 {
	sets := make([]uint32, 0, 8)
	for n := range open {
		sets = append(sets, n)
	}
	slices.Sort(sets)
	key := numbersKey(sets)
	n, ok := combos[string(key)]
	if !ok {
		n = uint32(len(m.combos))
		combos[string(key)] = n
		m.combos = append(m.combos, sets)
	}
	return n
}

// find returns the combination of the blocks that an address lies in, or noCombo.
// A nil blockMap has no blocks.
func (m *blockMap) find(a netip.Addr) uint32 {
	if m == nil {
		return noCombo
	}
	k := keyOf(a)
	from, to := 0, len(m.lasts) // the first range that does not end before a
	for from < to {
		if mid := (from + to) / 2; m.lasts[mid].less(k) {
			from = mid + 1
		} else {
			to = mid
		}
	}
	if from == len(m.ranges) || a.Less(m.ranges[from].first) {
		return noCombo
	}
	return m.ranges[from].combo
}

// sets returns the sets of a combination.
func (m *blockMap) sets(combo uint32) []uint32 {
	if combo == noCombo {
		return nil
	}
	return m.combos[combo]
}

// LastAddr returns the last address of a block.
func LastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		if bits := p.Bits() - 8*i; bits <= 0 {
			b[i] = 0xff
		} else if bits < 8 {
			b[i] |= 0xff >> bits
		}
	}
	a, _ := netip.AddrFromSlice(b) // of 4 or 16 bytes, as it was
	return a
}

func maxAddr(f Family) netip.Addr {
	if f == IPv4 {
		return netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return LastAddr(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}
