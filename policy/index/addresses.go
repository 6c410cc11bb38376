package index

import "net/netip"

// addresses records the holders of each address or block: pods, host endpoints and
// nodes by address, network sets by block. IPv4 and IPv6 are kept apart, in keys
// without pointers. Nearly every address has one holder; further ones are kept
// separately.
type addresses struct {
	v4   map[key4]*Holder
	v6   map[key6]*Holder
	more map[netip.Prefix][]*Holder
	// bits4 and bits6 count the blocks by length, so that a lookup of all blocks that
	// contain an address tries only lengths that occur.
	bits4 [33]int
	bits6 [129]int
}

type key4 struct {
	a    [4]byte
	bits uint8
}

type key6 struct {
	a    [16]byte
	bits uint8
}

// EachHolder visits everything that has an address, in no particular order, until visit
// returns false.
func (ix *Index) EachHolder(a netip.Addr, visit func(*Holder) bool) {
	ix.addrs.holders(single(a), visit)
}

func newAddresses() addresses {
	return addresses{v4: map[key4]*Holder{}, v6: map[key6]*Holder{}, more: map[netip.Prefix][]*Holder{}}
}

func (t *addresses) first(p netip.Prefix) *Holder {
	if a := p.Addr(); a.Is4() {
		return t.v4[key4{a.As4(), uint8(p.Bits())}]
	}
	return t.v6[key6{p.Addr().As16(), uint8(p.Bits())}]
}

func (t *addresses) setFirst(p netip.Prefix, o *Holder) {
	switch a := p.Addr(); {
	case a.Is4() && o == nil:
		delete(t.v4, key4{a.As4(), uint8(p.Bits())})
	case a.Is4():
		t.v4[key4{a.As4(), uint8(p.Bits())}] = o
	case o == nil:
		delete(t.v6, key6{a.As16(), uint8(p.Bits())})
	default:
		t.v6[key6{a.As16(), uint8(p.Bits())}] = o
	}
}

func (t *addresses) count(p netip.Prefix, n int) {
	if p.Addr().Is4() {
		t.bits4[p.Bits()] += n
	} else {
		t.bits6[p.Bits()] += n
	}
}

func (t *addresses) add(p netip.Prefix, o *Holder) {
	if t.first(p) != nil {
		t.more[p] = append(t.more[p], o)
		return
	}
	t.setFirst(p, o)
	t.count(p, 1)
}

func (t *addresses) remove(p netip.Prefix, o *Holder) {
	rest := t.more[p]
	if t.first(p) == o {
		if len(rest) == 0 {
			t.setFirst(p, nil)
			t.count(p, -1)
			return
		}
		t.setFirst(p, rest[len(rest)-1])
		rest = rest[:len(rest)-1]
	} else {
		for i, r := range rest {
			if r == o {
				rest[i] = rest[len(rest)-1]
				rest = rest[:len(rest)-1]
				break
			}
		}
	}
	if len(rest) == 0 {
		delete(t.more, p)
	} else {
		t.more[p] = rest
	}
}

// holders visits the holders of exactly this address or block, until visit returns false.
func (t *addresses) holders(p netip.Prefix, visit func(*Holder) bool) {
	o := t.first(p)
	if o == nil || !visit(o) || len(t.more) == 0 {
		return
	}
	for _, o := range t.more[p] {
		if !visit(o) {
			return
		}
	}
}

// covering visits the holders of every block that contains the address, the address
// itself first, until visit returns false.
func (t *addresses) covering(a netip.Addr, visit func(*Holder) bool) {
	counts := t.bits6[:]
	if a.Is4() {
		counts = t.bits4[:]
	}
	more := true
	for bits := len(counts) - 1; bits >= 0 && more; bits-- {
		if counts[bits] == 0 {
			continue
		}
		p, err := a.Prefix(bits)
		if err != nil {
			return
		}
		t.holders(p, func(o *Holder) bool { more = visit(o); return more })
	}
}
