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
	// counts are those of addressCounts.
	counts map[string][]int
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
	n := &names{worlds: w, has: w.families(), serviceAddrs: map[model.Ref][]netip.Addr{}, counts: map[string][]int{}}
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

// counts reports whether an atom can be part of a change of a kind at all.
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

// addressCounts is how many addresses of each endpoint, by rank, can be part of a change
// of a kind.
func (n *names) addressCounts(kind Kind, families []uint8) []int {
	key := string(kind) + string(families)
	out, ok := n.counts[key]
	if ok {
		return out
	}
	out = make([]int, len(n.whos))
	for i := range n.atoms {
		if x := &n.atoms[i]; x.group < 0 && counts(x, kind, families) {
			out[x.rank]++
		}
	}
	n.counts[key] = out
	return out
}

func (n *names) onlyAddresses(m members, kind Kind, families []uint8) map[string][]netip.Addr {
	all := n.addressCounts(kind, families)
	in := make([]int, len(n.whos))
	for _, i := range m {
		if x := &n.atoms[i]; x.group < 0 && counts(x, kind, families) {
			in[x.rank]++
		}
	}
	var out map[string][]netip.Addr
	for _, i := range m {
		x := &n.atoms[i]
		if x.group >= 0 || in[x.rank] == 0 || in[x.rank] == all[x.rank] || !counts(x, kind, families) {
			continue
		}
		if out == nil {
			out = map[string][]netip.Addr{}
		}
		r := x.who.String()
		out[r] = append(out[r], x.addr())
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
	rest := m
	for i := range n.atoms {
		x := &n.atoms[i]
		in := len(rest) > 0 && rest[0] == i
		if in {
			rest = rest[1:]
		}
		if !counts(x, kind, families) {
			continue
		}
		switch {
		case x.group >= 0:
			outside++
		case x.who.Kind == model.KindPod:
			pods.note(x.who, in, alone)
		default:
			hosts.note(x.who, in, alone)
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
