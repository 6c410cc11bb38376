package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// space is the single addresses of one family that are members of sets. They
// are sorted into classes: addresses of the same sets are of one class. So what
// a set holds is kept once, however many tables ask for it, and what a table
// has to know of 100,000 addresses is what it does with the few classes of
// theirs.
//
// Sets go by numbers here (setRec.number), and so do addresses.
type space struct {
	family  Family
	numbers numbering
	// class and place are by address number: the class of the address, and where
	// it stands among the class's members.
	class   []*class
	place   []uint32
	classes map[string]*class // by the sets' numbers
	sets    func(number uint32) *setRec

	// groups are the classes as classed tables know them; told is, by address
	// number, the number of the address's class that the last Change left.
	groups grouping
	told   []uint32
	// What has happened since groups were up to date: sets that classed tables may
	// have begun or ceased to ask for, classes that have come and gone, addresses
	// that have another class, and those that have gone, with what they were told.
	flipped     []*setRec
	fresh, dead []*class
	moved       []uint32
	leaving     map[netip.Addr]uint32
}

// class is the addresses that are in the same sets.
type class struct {
	sets []uint32 // sorted, not empty
	// places are those of the class in setRec.classes, parallel to sets.
	places  []uint32
	members []uint32
	group   *group // nil if no classed table knows it
	// forgotten is true once it is dropped.
	forgotten bool
}

// membership is that an address (by number) enters or leaves a set, in an order
// that brings those of one address together.
type membership uint64

func memberOf(addr, set uint32, in bool) membership {
	m := membership(addr)<<32 | membership(set)<<1
	if in {
		m |= 1
	}
	return m
}

func (m membership) addr() uint32 { return uint32(m >> 32) }
func (m membership) set() uint32  { return uint32(m) >> 1 }
func (m membership) in() bool     { return m&1 == 1 }

// move is addresses that go from one class to another, either of which may be
// nil: none.
type move struct {
	from, to *class
	addrs    []uint32
}

func newSpace(f Family, sets func(uint32) *setRec, homes uint32) *space {
	s := &space{family: f, classes: map[string]*class{}, sets: sets, groups: newGrouping(homes)}
	if f == IPv4 {
		s.numbers = newNumbers(netip.Addr.As4, netip.AddrFrom4)
	} else {
		s.numbers = newNumbers(netip.Addr.As16, netip.AddrFrom16)
	}
	return s
}

// intern returns the number of an address, giving it one if it has none.
func (s *space) intern(a netip.Addr) uint32 {
	n := s.numbers.intern(a)
	if int(n) >= len(s.class) {
		s.class = append(s.class, nil)
		s.place = append(s.place, 0)
		s.told = append(s.told, 0)
	}
	return n
}

// classOf returns the class of an address, or nil.
func (s *space) classOf(a netip.Addr) *class {
	if !a.IsValid() || FamilyOf(a) != s.family {
		return nil
	}
	if n, ok := s.numbers.find(a); ok {
		return s.class[n]
	}
	return nil
}

// apply makes changes of membership. It returns the moves that follow, but for
// those that no table can see. Classes that have gone and addresses that have
// lost their number stay readable until numbers are given to others.
func (s *space) apply(changes []membership) []*move {
	slices.Sort(changes)
	var out, all []*move
	moves := map[[2]*class]*move{}
	var last *move
	var lastChanges []membership
	var gone []uint32
	for i := 0; i < len(changes); {
		addr := changes[i].addr()
		j := i + 1
		for j < len(changes) && changes[j].addr() == addr {
			j++
		}
		own := changes[i:j]
		i = j
		from := s.class[addr]
		if last == nil || last.from != from || !slices.EqualFunc(own, lastChanges, sameChange) {
			pair := [2]*class{from, s.changed(from, own)}
			if last = moves[pair]; last == nil {
				last = &move{from: pair[0], to: pair[1]}
				moves[pair] = last
				all = append(all, last)
				if s.seen(pair[0], pair[1]) {
					out = append(out, last)
				}
			}
			lastChanges = own
		}
		if last.from != last.to {
			s.put(addr, last.to)
			s.moved = append(s.moved, addr)
			last.addrs = append(last.addrs, addr)
		}
		if last.to == nil {
			gone = append(gone, addr)
		}
	}
	for _, m := range all {
		if m.from != nil && len(m.from.members) == 0 && m.from != m.to {
			s.forget(m.from)
		}
	}
	for _, a := range gone {
		s.leave(a)
	}
	return out
}

// leave takes an address's number back.
func (s *space) leave(a uint32) {
	if s.told[a] != 0 {
		if s.leaving == nil {
			s.leaving = map[netip.Addr]uint32{}
		}
		s.leaving[s.numbers.addr(a)], s.told[a] = s.told[a], 0
	}
	s.numbers.release(a)
}

func sameChange(a, b membership) bool { return uint32(a) == uint32(b) }

// changed returns the class for an address of a class after changes.
func (s *space) changed(from *class, changes []membership) *class {
	var sets []uint32
	if from != nil {
		sets = make([]uint32, 0, len(from.sets)+len(changes))
		at := 0
		for _, n := range from.sets {
			for at < len(changes) && changes[at].set() < n {
				sets = enter(sets, changes[at])
				at++
			}
			if at < len(changes) && changes[at].set() == n {
				sets = enter(sets, changes[at])
				at++
				continue
			}
			sets = append(sets, n)
		}
		changes = changes[at:]
	}
	for _, ch := range changes {
		sets = enter(sets, ch)
	}
	return s.classFor(sets)
}

func enter(sets []uint32, ch membership) []uint32 {
	if ch.in() {
		sets = append(sets, ch.set())
	}
	return sets
}

// classFor returns the class of sets, which are sorted; nil for none.
func (s *space) classFor(sets []uint32) *class {
	if len(sets) == 0 {
		return nil
	}
	key := numbersKey(sets)
	if c := s.classes[string(key)]; c != nil {
		return c
	}
	c := &class{sets: slices.Clip(sets), places: make([]uint32, len(sets))}
	s.classes[string(key)] = c
	s.fresh = append(s.fresh, c)
	for i, n := range sets {
		list := &s.sets(n).classes[familyIndex(s.family)]
		c.places[i] = uint32(len(*list))
		*list = append(*list, c)
	}
	return c
}

func numbersKey(numbers []uint32) []byte {
	key := make([]byte, 0, 64)
	for _, n := range numbers {
		key = binary.BigEndian.AppendUint32(key, n)
	}
	return key
}

// forget drops a class without members.
func (s *space) forget(c *class) {
	key := numbersKey(c.sets)
	if s.classes[string(key)] != c {
		return // forgotten already
	}
	delete(s.classes, string(key))
	c.forgotten = true
	s.dead = append(s.dead, c)
	for i, n := range c.sets {
		list := &s.sets(n).classes[familyIndex(s.family)]
		end := len(*list) - 1
		moved := (*list)[end]
		(*list)[c.places[i]] = moved
		j, _ := slices.BinarySearch(moved.sets, n)
		moved.places[j] = c.places[i]
		(*list)[end] = nil
		*list = (*list)[:end]
	}
}

// put makes an address a member of a class, or of none.
func (s *space) put(addr uint32, to *class) {
	if from := s.class[addr]; from != nil {
		end := len(from.members) - 1
		moved, at := from.members[end], s.place[addr]
		from.members[at], s.place[moved] = moved, at
		from.members = from.members[:end]
	}
	s.class[addr] = to
	if to != nil {
		s.place[addr] = uint32(len(to.members))
		to.members = append(to.members, addr)
	}
}

// seen says whether a table asks for a set that only one of two classes is in.
func (s *space) seen(a, b *class) bool {
	found := false
	eachDifference(a, b, func(n uint32) { found = found || len(s.sets(n).tables) > 0 })
	return found
}

// eachDifference visits the sets that only one of two classes is in.
func eachDifference(a, b *class, visit func(set uint32)) {
	var x, y []uint32
	if a != nil {
		x = a.sets
	}
	if b != nil {
		y = b.sets
	}
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0] < y[0]:
			visit(x[0])
			x = x[1:]
		case len(x) == 0 || y[0] < x[0]:
			visit(y[0])
			y = y[1:]
		default:
			x, y = x[1:], y[1:]
		}
	}
}

// numbering gives addresses of one family numbers, small ones, and takes them back.
type numbering interface {
	find(a netip.Addr) (uint32, bool)
	intern(a netip.Addr) uint32
	addr(n uint32) netip.Addr
	release(n uint32)
	// expect says how many addresses are about to come.
	expect(n int)
}

// numbers is a numbering that keeps addresses as K, without pointers.
type numbers[K comparable] struct {
	of   map[K]uint32
	keys []K
	free []uint32
	key  func(netip.Addr) K
	back func(K) netip.Addr
}

func newNumbers[K comparable](key func(netip.Addr) K, back func(K) netip.Addr) *numbers[K] {
	return &numbers[K]{of: map[K]uint32{}, key: key, back: back}
}

func (s *numbers[K]) find(a netip.Addr) (uint32, bool) {
	n, ok := s.of[s.key(a)]
	return n, ok
}

func (s *numbers[K]) intern(a netip.Addr) uint32 {
	k := s.key(a)
	n, ok := s.of[k]
	if ok {
		return n
	}
	if end := len(s.free) - 1; end >= 0 {
		n = s.free[end]
		s.free = s.free[:end]
		s.keys[n] = k
	} else {
		n = uint32(len(s.keys))
		s.keys = append(s.keys, k)
	}
	s.of[k] = n
	return n
}

func (s *numbers[K]) addr(n uint32) netip.Addr { return s.back(s.keys[n]) }

func (s *numbers[K]) release(n uint32) {
	delete(s.of, s.keys[n])
	s.free = append(s.free, n)
}

func (s *numbers[K]) expect(n int) {
	if len(s.of) == 0 {
		s.of = make(map[K]uint32, n)
		s.keys = slices.Grow(s.keys, n)
	}
}
