package diff

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// Peers are one side of a change.
type Peers struct {
	// Text is for people; long lists are cut to a few names "and N more".
	Text string `json:"text"`
	// Endpoints in full.
	Endpoints []model.Ref `json:"endpoints,omitempty"`
	// OnlyAddresses limits an endpoint to some of its addresses.
	OnlyAddresses map[string][]netip.Addr `json:"onlyAddresses,omitempty"`
	// Nets are the outside addresses, as the fewest blocks. Addresses of
	// endpoints of either world are not among them.
	Nets []netip.Prefix `json:"nets,omitempty"`
	// Services that are meant by their own addresses, before these are translated.
	Services []model.Ref `json:"services,omitempty"`

	members members
}

// names describes members.
type names struct {
	*worlds
	has  hasFamily
	sets []namedSet
	// serviceAddrs are the addresses of Services after the change.
	serviceAddrs map[model.Ref][]netip.Addr
	// ownedRanges is filled by owned.
	ownedRanges []packets.Range
}

// namedSet is addresses that have a name: of a network set that is the same in
// each world that has it, or those in pod CIDRs.
type namedSet struct {
	name   string
	nets   []netip.Prefix // to show with the name, if there are few; nil for none
	ranges []packets.Range
}

func newNames(w *worlds, o Options) *names {
	n := &names{worlds: w, has: w.families(), serviceAddrs: map[model.Ref][]netip.Addr{}}
	for _, s := range o.ServicesAfter {
		n.serviceAddrs[s.Ref] = s.Addrs
	}
	found := map[model.Ref][]netip.Prefix{}
	changed := map[model.Ref]bool{}
	for _, e := range []*packets.Evaluator{w.a, w.b} {
		for _, r := range e.Index().NetworkSets() {
			nets := e.Index().NetworkSet(r)
			if old, ok := found[r]; ok && !slices.Equal(old, nets) {
				changed[r] = true
			}
			found[r] = nets
		}
	}
	n.addDomains()
	for r, nets := range found {
		if changed[r] || len(nets) == 0 {
			continue
		}
		s := namedSet{name: r.String(), nets: nets}
		for _, p := range nets {
			s.ranges = append(s.ranges, packets.RangeOf(p))
		}
		n.sets = append(n.sets, s)
	}
	slices.SortFunc(n.sets, func(a, b namedSet) int { return strings.Compare(a.name, b.name) })
	unused := namedSet{name: "unused pod addresses"}
	for i := range w.atoms {
		if x := &w.atoms[i]; x.group >= 0 && x.a.UnknownWorkload && x.b.UnknownWorkload {
			unused.ranges = append(unused.ranges, w.groups[x.group].Ranges...)
		}
	}
	n.sets = append(n.sets, unused) // the last one: see blocks
	return n
}

// addDomains names the addresses that DNS answers have brought for the names of rules,
// where each world that knows a name knows the same ones.
func (n *names) addDomains() {
	known := map[string][]netip.Addr{}
	for _, e := range []*packets.Evaluator{n.a, n.b} {
		for _, p := range e.Index().Patterns() {
			addrs := e.Index().AddrsOf(p)
			if old, ok := known[p.String()]; ok && !slices.Equal(old, addrs) {
				addrs = nil
			}
			known[p.String()] = addrs
		}
	}
	for name, addrs := range known {
		if len(addrs) == 0 {
			continue
		}
		s := namedSet{name: "domain " + name}
		for _, a := range addrs {
			p := netip.PrefixFrom(a, a.BitLen())
			s.nets, s.ranges = append(s.nets, p), append(s.ranges, packets.RangeOf(p))
		}
		n.sets = append(n.sets, s)
	}
}

// peers describes one side of a change. other is the opposite side: an endpoint
// that is alone there is not missed here.
func (n *names) peers(m, other members, kind Kind, families []uint8) Peers {
	p := Peers{Endpoints: n.endpoints(m), members: m}
	var ranges []packets.Range
	for _, i := range m {
		if x := &n.atoms[i]; x.group >= 0 {
			ranges = append(ranges, n.groups[x.group].Ranges...)
		}
	}
	p.Nets = packets.Prefixes(ranges)
	p.OnlyAddresses = n.onlyAddresses(m, kind, families)
	p.Text = n.text(m, other, kind, families, &p)
	return p
}

// counts says whether an atom can be part of a change of a kind at all.
func counts(x *atom, kind Kind, families []uint8) bool {
	if !slices.Contains(families, x.family) {
		return false
	}
	switch kind {
	case Added:
		return x.b != nil
	case Removed:
		return x.a != nil
	}
	return x.a != nil && x.b != nil
}

func (n *names) onlyAddresses(m members, kind Kind, families []uint8) map[string][]netip.Addr {
	all, in := map[model.Ref]int{}, map[model.Ref][]netip.Addr{}
	for i := range n.atoms {
		x := &n.atoms[i]
		if x.group >= 0 || !counts(x, kind, families) {
			continue
		}
		all[x.who]++
		if m.has(i) {
			in[x.who] = append(in[x.who], x.addr())
		}
	}
	var out map[string][]netip.Addr
	for r, addrs := range in {
		if len(addrs) < all[r] {
			if out == nil {
				out = map[string][]netip.Addr{}
			}
			out[r.String()] = addrs
		}
	}
	return out
}

// maxNames is the number of names that a text lists before "and N more".
const maxNames = 4

// cut joins names, the surplus as a number.
func cut(list []string) string {
	if len(list) > maxNames+1 {
		return strings.Join(list[:maxNames], ", ") + fmt.Sprintf(" and %d more", len(list)-maxNames)
	}
	return strings.Join(list, ", ")
}

func (n *names) text(m, other members, kind Kind, families []uint8, p *Peers) string {
	alone := model.Ref{}
	if list := n.endpoints(other); len(list) == 1 {
		alone = list[0]
	}
	var pods, hosts listing
	outside := 0 // groups that could be here
	for i := range n.atoms {
		x := &n.atoms[i]
		if !counts(x, kind, families) {
			continue
		}
		switch {
		case x.group >= 0:
			outside++
		case x.who.Kind == model.KindPod:
			pods.note(x.who, m.has(i), alone)
		default:
			hosts.note(x.who, m.has(i), alone)
		}
	}
	groups := 0
	for _, i := range m {
		if n.atoms[i].group >= 0 {
			groups++
		}
	}
	if groups == outside && pods.complete() && hosts.complete() {
		return "anywhere"
	}
	var parts []string
	if len(pods.in) > 0 {
		parts = append(parts, pods.text("all pods", n.label(p)))
	}
	if len(hosts.in) > 0 {
		parts = append(parts, hosts.text("all hosts", n.label(p)))
	}
	switch {
	case groups == 0:
	case groups == outside:
		parts = append(parts, "all outside addresses")
	default:
		parts = append(parts, n.outside(m, p.Nets, kind, families))
	}
	return strings.Join(parts, "; ")
}

// label writes an endpoint, with its addresses if only some of them are meant.
func (n *names) label(p *Peers) func(model.Ref) string {
	return func(r model.Ref) string {
		s := r.String()
		if only, ok := p.OnlyAddresses[s]; ok {
			s += fmt.Sprintf(" %v", only)
		}
		return s
	}
}

// listing is the endpoints of a kind that are in, and those that are not.
type listing struct{ in, out []model.Ref }

func (l *listing) note(r model.Ref, in bool, alone model.Ref) {
	list := &l.in
	if !in {
		if list = &l.out; r == alone {
			return
		}
	}
	if k := len(*list); k == 0 || (*list)[k-1] != r {
		*list = append(*list, r)
	}
}

func (l *listing) complete() bool { return len(l.out) == 0 }

// text names everything with a word, what is nearly everything by what lacks,
// and else every namespace of its own.
func (l *listing) text(everything string, label func(model.Ref) string) string {
	if t, ok := l.brief(everything); ok {
		return t
	}
	byNamespace := map[string]*listing{}
	var namespaces []string
	at := func(r model.Ref) *listing {
		s := byNamespace[r.Namespace]
		if s == nil {
			s = &listing{}
			byNamespace[r.Namespace] = s
			namespaces = append(namespaces, r.Namespace)
		}
		return s
	}
	for _, r := range l.in {
		s := at(r)
		s.in = append(s.in, r)
	}
	for _, r := range l.out {
		s := at(r)
		s.out = append(s.out, r)
	}
	slices.Sort(namespaces)
	var whole, single []string
	for _, ns := range namespaces {
		s := byNamespace[ns]
		if len(s.in) == 0 {
			continue
		}
		if ns != "" {
			if t, ok := s.brief("all pods of " + ns); ok {
				whole = append(whole, t)
				continue
			}
		}
		for _, r := range s.in {
			single = append(single, label(r))
		}
	}
	return cut(append(whole, single...))
}

// brief applies to several endpoints of which none or few lack.
func (l *listing) brief(everything string) (string, bool) {
	switch {
	case len(l.in) > 1 && len(l.out) == 0:
		return everything, true
	case len(l.in) >= 4 && len(l.out) <= 3 && len(l.in) >= 3*len(l.out):
		var but []string
		for _, r := range l.out {
			but = append(but, r.String())
		}
		return everything + " but " + strings.Join(but, ", "), true
	}
	return "", false
}

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
