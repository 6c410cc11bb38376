package diff

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/packets"
)

// outside names outside addresses: by network sets that are wholly in, by
// blocks, or by the blocks that are not in.
func (n *names) outside(m members, nets []netip.Prefix, kind Kind, families []uint8) string {
	var missing []packets.Range
	rest := false // addresses that nothing names are in
	for i := range n.atoms {
		x := &n.atoms[i]
		if x.group < 0 || !counts(x, kind, families) {
			continue
		}
		if !m.has(i) {
			missing = append(missing, n.groups[x.group].Ranges...)
		} else if n.groups[x.group].Outside {
			rest = true
		}
	}
	if rest {
		list, _ := n.blocks(missing, families)
		return "outside addresses but " + cut(list)
	}
	var in []packets.Range
	for _, p := range nets {
		in = append(in, packets.RangeOf(p))
	}
	list, filled := n.blocks(in, families)
	if filled {
		return "outside addresses in " + cut(list)
	}
	return cut(list)
}

// fill closes gaps that are nothing but addresses of endpoints, for texts that
// speak of outside addresses anyway.
func (n *names) fill(rs []packets.Range) []packets.Range {
	var out []packets.Range
	for _, r := range packets.Join(rs) {
		if k := len(out); k > 0 && out[k-1].To.BitLen() == r.From.BitLen() {
			gap := []packets.Range{{From: out[k-1].To.Next(), To: r.From.Prev()}}
			if len(packets.Without(gap, n.owned())) == 0 {
				out[k-1].To = r.To
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// blocks names network sets whose addresses of the families lie within the
// ranges, and what is left as blocks. filled says whether the blocks include
// addresses of endpoints.
func (n *names) blocks(rs []packets.Range, families []uint8) (list []string, filled bool) {
	list, filled = n.blocksBeside(n.sets, rs, families)
	// To name the unused addresses of pods may tear a block apart.
	if whole, f := n.blocksBeside(n.sets[:len(n.sets)-1], rs, families); len(whole) <= len(list) {
		return whole, f
	}
	return list, filled
}

func (n *names) blocksBeside(sets []namedSet, rs []packets.Range, families []uint8) (list []string, filled bool) {
	left := rs
	for i := range sets {
		s := &sets[i]
		mine := slices.DeleteFunc(packets.Without(s.ranges, n.owned()), func(r packets.Range) bool {
			return !slices.Contains(families, familyOf(r.From))
		})
		if len(mine) == 0 || len(packets.Without(mine, left)) > 0 {
			continue
		}
		list = append(list, s.text(families))
		left = packets.Without(left, mine)
	}
	left = packets.Join(left)
	whole := n.fill(left)
	for _, family := range families {
		list = append(list, plain(ofRanges(whole, family))...)
	}
	return list, len(whole) < len(left)
}

// text is the name and, if there are few, the blocks of the families.
func (s *namedSet) text(families []uint8) string {
	var nets []netip.Prefix
	for _, p := range s.nets {
		if slices.Contains(families, familyOf(p.Addr())) {
			nets = append(nets, p)
		}
	}
	if len(nets) == 0 || len(nets) > 2 {
		return s.name
	}
	return s.name + " (" + joined(nets) + ")"
}

func ofRanges(rs []packets.Range, family uint8) []packets.Range {
	return slices.DeleteFunc(slices.Clone(rs), func(r packets.Range) bool { return familyOf(r.From) != family })
}

// plain writes ranges of one family as blocks, or as one block and what lacks
// of it where that is shorter.
func plain(rs []packets.Range) []string {
	if len(rs) == 0 {
		return nil
	}
	var out []string
	blocks := packets.Prefixes(rs)
	for _, p := range blocks {
		out = append(out, p.String())
	}
	first, last := blocks[0].Addr(), rs[len(rs)-1].To
	hull := netip.PrefixFrom(first, first.BitLen())
	for !hull.Contains(last) {
		hull = netip.PrefixFrom(first, hull.Bits()-1).Masked()
	}
	missing := packets.Prefixes(packets.Without([]packets.Range{packets.RangeOf(hull)}, rs))
	if len(missing) > 0 && len(missing) <= maxNames && len(missing)+1 < len(blocks) {
		return []string{hull.String() + " but " + strings.ReplaceAll(joined(missing), ", ", " and ")}
	}
	return out
}

func joined(nets []netip.Prefix) string {
	var list []string
	for _, p := range nets {
		list = append(list, p.String())
	}
	return strings.Join(list, ", ")
}

// owned are the addresses of endpoints: all that is in no group.
func (n *names) owned() []packets.Range {
	if n.ownedRanges == nil {
		var outside []packets.Range
		for _, g := range n.groups {
			outside = append(outside, g.Ranges...)
		}
		whole := []packets.Range{packets.RangeOf(netip.MustParsePrefix("0.0.0.0/0")), packets.RangeOf(netip.MustParsePrefix("::/0"))}
		n.ownedRanges = packets.Without(whole, outside)
	}
	return n.ownedRanges
}
