package packets

import (
	"net/netip"
	"slices"
)

// Range is an unbroken run of addresses of one family, both ends included.
type Range struct{ From, To netip.Addr }

// RangeOf is the addresses of a prefix.
func RangeOf(p netip.Prefix) Range { return Range{p.Masked().Addr(), lastOf(p)} }

// Contains reports whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.From.BitLen() && r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As16()
	bit := p.Bits()
	if p.Addr().Is4() {
		bit += 96
	}
	for i := bit; i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		a = a.Unmap()
	}
	return a
}

// Join sorts ranges (IPv4 before IPv6) and joins those that overlap or touch.
func Join(rs []Range) []Range {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b Range) int { return a.From.Compare(b.From) })
	var out []Range
	for _, r := range rs {
		if n := len(out); n > 0 {
			last := &out[n-1]
			next := last.To.Next()
			if last.From.BitLen() == r.From.BitLen() && (!next.IsValid() || r.From.Compare(next) <= 0) {
				if r.To.Compare(last.To) > 0 {
					last.To = r.To
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// Prefixes returns the fewest address blocks that make up the ranges, sorted.
func Prefixes(rs []Range) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range Join(rs) {
		for at := r.From; ; {
			p := widest(at, r.To)
			out = append(out, p)
			last := lastOf(p)
			if last.Compare(r.To) >= 0 {
				break
			}
			at = last.Next()
		}
	}
	return out
}

// widest is the largest block that starts at an address and ends at or before another.
func widest(from, to netip.Addr) netip.Prefix {
	bits := from.BitLen()
	p := netip.PrefixFrom(from, bits)
	for bits > 0 {
		wider := netip.PrefixFrom(from, bits-1)
		if wider.Masked().Addr() != from || lastOf(wider).Compare(to) > 0 {
			break
		}
		p, bits = wider, bits-1
	}
	return p
}

// Without is the addresses of a that are not in b, joined and sorted.
func Without(a, b []Range) []Range {
	var out []Range
	b = Join(b)
	for _, r := range Join(a) {
		i, _ := slices.BinarySearchFunc(b, r.From, func(x Range, at netip.Addr) int { return x.To.Compare(at) })
		from, left := r.From, true
		for ; left && i < len(b) && b[i].From.Compare(r.To) <= 0; i++ {
			if b[i].From.Compare(from) > 0 {
				out = append(out, Range{from, b[i].From.Prev()})
			}
			from = b[i].To.Next()
			left = from.IsValid() && from.Compare(r.To) <= 0
		}
		if left {
			out = append(out, Range{from, r.To})
		}
	}
	return out
}
