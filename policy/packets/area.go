package packets

// slab is the part of an area over one range of the first axis: the same set
// of second coordinates for each.
type slab struct {
	x  span
	ys spans // never empty
}

// area is a set of pairs: destination port × source port, or ICMP type × code.
// The slabs are sorted, disjoint and as wide as they can be, so that equal
// areas are equal slices. Shared freely, never changed.
type area []slab

var (
	allPortNumbers = spans{{0, 0xffff}}
	allICMPNumbers = spans{{0, 0xff}}
	allPorts       = area{{span{0, 0xffff}, allPortNumbers}}
	allICMP        = area{{span{0, 0xff}, allICMPNumbers}}
)

// product is the area of every pair of an x and a y.
func product(xs, ys spans) area {
	if len(ys) == 0 {
		return nil
	}
	out := make(area, 0, len(xs))
	for _, x := range xs {
		out = append(out, slab{x, ys})
	}
	return out
}

// combine applies an operation to two areas.
func (a area) combine(b area, op operation) area {
	var out area
	i, j := 0, 0
	const end = 1 << 16
	for at := uint32(0); at < end; {
		ya, nextA := a.at(&i, at)
		yb, nextB := b.at(&j, at)
		next := min(nextA, nextB)
		if len(ya) > 0 || len(yb) > 0 { // no operation here holds outside of both
			if ys := ya.combine(yb, op); len(ys) > 0 {
				out = out.extend(span{uint16(at), uint16(next - 1)}, ys)
			}
		}
		at = next
	}
	return out
}

// extend appends a slab and keeps the area canonical.
func (a area) extend(x span, ys spans) area {
	if n := len(a); n > 0 && uint32(a[n-1].x.hi)+1 == uint32(x.lo) && a[n-1].ys.equal(ys) {
		a[n-1].x.hi = x.hi
		return a
	}
	return append(a, slab{x, ys})
}

// at returns the second coordinates at a position of the first axis and up to
// where (exclusive) they stay so.
func (a area) at(cursor *int, pos uint32) (spans, uint32) {
	for *cursor < len(a) && uint32(a[*cursor].x.hi) < pos {
		*cursor++
	}
	if *cursor == len(a) {
		return nil, 1 << 16
	}
	if s := a[*cursor]; pos < uint32(s.x.lo) {
		return nil, uint32(s.x.lo)
	}
	return a[*cursor].ys, uint32(a[*cursor].x.hi) + 1
}

func (a area) union(b area) area {
	switch {
	case len(a) == 0 || a.same(b):
		return b
	case len(b) == 0:
		return a
	}
	return a.combine(b, or)
}

func (a area) intersect(b area) area {
	switch {
	case len(a) == 0 || len(b) == 0:
		return nil
	case a.same(b):
		return a
	}
	return a.combine(b, and)
}

func (a area) subtract(b area) area {
	switch {
	case len(a) == 0 || a.same(b):
		return nil
	case len(b) == 0:
		return a
	}
	return a.combine(b, andNot)
}

// same is a quick test for the shared constants: false says nothing.
func (a area) same(b area) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func (a area) equal(b area) bool {
	if a.same(b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].x != b[i].x || !a[i].ys.equal(b[i].ys) {
			return false
		}
	}
	return true
}

func (a area) contains(x, y uint16) bool {
	for _, s := range a {
		if x >= s.x.lo && x <= s.x.hi {
			return s.ys.contains(y)
		}
	}
	return false
}

// isAll reports whether the area is everything, if both axes end at limit.
func (a area) isAll(limit uint16) bool {
	return len(a) == 1 && a[0].x == span{0, limit} && a[0].ys.isAll(limit)
}
