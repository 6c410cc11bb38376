package packets

// span is a range of ports, ICMP types or ICMP codes, both ends included.
type span struct{ lo, hi uint16 }

// spans is a set of numbers: sorted, disjoint, and with a gap between any two,
// so that equal sets are equal slices. Shared freely, never changed.
type spans []span

// operation is a set operation as a truth table over "in a" and "in b".
type operation func(a, b bool) bool

func or(a, b bool) bool     { return a || b }
func and(a, b bool) bool    { return a && b }
func andNot(a, b bool) bool { return a && !b }

// combine applies an operation to two sets.
func (s spans) combine(t spans, op operation) spans {
	var out spans
	i, j := 0, 0
	// Positions are wider than the numbers, so that the one after 65535 exists.
	const end = 1 << 16
	for at := uint32(0); at < end; {
		inS, nextS := s.at(&i, at)
		inT, nextT := t.at(&j, at)
		next := min(nextS, nextT)
		if op(inS, inT) {
			lo, hi := uint16(at), uint16(next-1)
			if n := len(out); n > 0 && uint32(out[n-1].hi)+1 == at {
				out[n-1].hi = hi
			} else {
				out = append(out, span{lo, hi})
			}
		}
		at = next
	}
	return out
}

// at reports whether a position is in the set and up to where (exclusive) that
// stays so. The cursor only moves forward.
func (s spans) at(cursor *int, pos uint32) (in bool, next uint32) {
	for *cursor < len(s) && uint32(s[*cursor].hi) < pos {
		*cursor++
	}
	if *cursor == len(s) {
		return false, 1 << 16
	}
	if sp := s[*cursor]; pos < uint32(sp.lo) {
		return false, uint32(sp.lo)
	}
	return true, uint32(s[*cursor].hi) + 1
}

func (s spans) equal(t spans) bool {
	if len(s) != len(t) {
		return false
	}
	if len(s) == 0 || &s[0] == &t[0] {
		return true
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

func (s spans) contains(v uint16) bool {
	for _, sp := range s {
		if v >= sp.lo && v <= sp.hi {
			return true
		}
	}
	return false
}

func (s spans) isAll(limit uint16) bool {
	return len(s) == 1 && s[0].lo == 0 && s[0].hi == limit
}
