package packets

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// External is a group of addresses that have no owner and that nothing distinguishes.
type External struct {
	// Addr is one of them, to evaluate in place of all.
	Addr netip.Addr
	// Ranges are all of them, sorted and of one family.
	Ranges []Range
	// Outside is true if no set, rule, pod CIDR or failsafe port names them.
	Outside bool
}

// Cut divides the addresses that no endpoint and no node has in any of the worlds into
// groups that none of the worlds distinguishes, IPv4 before IPv6 and then by the lowest
// address.
func Cut(worlds ...*Evaluator) []External { return CutApart(nil, worlds...) }

// Outside is Cut of this Evaluator's world. The caller must not change the groups.
func (e *Evaluator) Outside() []External {
	if e.outside == nil {
		e.outside = Cut(e)
	}
	return e.outside
}

// CutApart is Cut with a group of its own for each of the given addresses that has no
// owner.
func CutApart(alone []netip.Addr, worlds ...*Evaluator) []External {
	c := cutter{ids: map[string]int32{}}
	for i, e := range worlds {
		c.world(e, fmt.Sprint(i))
	}
	for _, a := range alone {
		c.add("alone "+a.String(), netip.PrefixFrom(a, a.BitLen()))
	}
	for _, whole := range []string{"0.0.0.0/0", "::/0"} {
		c.add("", netip.MustParsePrefix(whole))
	}
	return c.sweep()
}

// owned is the property of addresses with an owner.
const owned = "owned"

type cutter struct {
	ids   map[string]int32
	edges []edge
}

// edge is where a property of addresses begins or ends.
type edge struct {
	at    netip.Addr
	end   bool // the address after the last one that has it
	label int32
}

// add gives the addresses of a prefix a property. A prefix that is a whole family
// distinguishes nothing within it.
func (c *cutter) add(property string, p netip.Prefix) {
	if p.Bits() == 0 && property != "" {
		return
	}
	id, ok := c.ids[property]
	if !ok {
		id = int32(len(c.ids))
		c.ids[property] = id
	}
	p = p.Masked()
	c.edges = append(c.edges, edge{p.Addr(), false, id})
	if next := lastOf(p).Next(); next.IsValid() {
		c.edges = append(c.edges, edge{next, true, id})
	}
}

func (c *cutter) world(e *Evaluator, prefix string) {
	for _, r := range e.ix.Endpoints() {
		if ep, ok := e.ix.Endpoint(r); ok {
			for _, a := range ep.Addrs {
				c.add(owned, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	for _, n := range e.ix.Nodes() {
		for _, a := range n.Addrs {
			c.add(owned, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	for _, b := range e.surrounding.Blocks() {
		c.add(prefix+b.Label, b.Net)
	}
	for i, list := range [][]model.FailsafePort{e.settings.FailsafeInbound, e.settings.FailsafeOutbound} {
		for _, f := range list {
			if f.Net.IsValid() {
				c.add(fmt.Sprintf("%sfailsafe%d %d/%d", prefix, i, f.Protocol, f.Port), f.Net)
			}
		}
	}
	e.load()
	seen := map[*index.Set]bool{}
	var nets []byte
	for _, id := range sortedKeys(e.rules) {
		for i := range e.rules[id] {
			r := &e.rules[id][i]
			for _, peer := range []*model.Peer{&r.Match.Source, &r.Match.Destination} {
				for _, list := range [][]netip.Prefix{peer.Nets, peer.NotNets} {
					// One property for each list, not for each prefix: a rule does not
					// distinguish its nets.
					nets = appendNets(nets[:0], list)
					for _, n := range list {
						c.add(string(nets), n)
					}
				}
			}
			for _, s := range setsOf(r) {
				if s == nil || seen[s] {
					continue
				}
				seen[s] = true
				for _, m := range s.Members() {
					c.add(fmt.Sprintf("%s%s %d/%d", prefix, s.ID(), m.Protocol, m.Port), m.Prefix)
				}
			}
		}
	}
}

// setsOf are the sets that a rule refers to, nil ones among them.
func setsOf(r *index.Rule) []*index.Set {
	var out []*index.Set
	for _, p := range []*index.PeerSets{&r.Source, &r.Destination} {
		out = append(out, p.Selector, p.NotSelector, p.Service, p.Domains)
		out = append(append(out, p.NamedPorts...), p.NotNamedPorts...)
	}
	return out
}

func sortedKeys[V any](m map[int32]V) []int32 {
	out := make([]int32, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// load numbers the chains of every endpoint: afterwards all rules are known, and with
// them which addresses are alike.
func (e *Evaluator) load() {
	if e.alike != nil {
		return
	}
	seen := map[*index.Effective]bool{}
	for _, r := range e.ix.Endpoints() {
		if eff := e.ix.Effective(r); eff != nil && !seen[eff] {
			seen[eff] = true
			for _, c := range Chains(eff) {
				e.chain(c.Chain, c.Direction)
			}
		}
	}
	e.alike = e.newLookalikes()
	for _, p := range e.parties {
		p.sight = nil
	}
}

// Chains lists the chains of an effective policy that are not empty, in the order of
// the stages of one direction.
func Chains(e *index.Effective) []index.StageChain {
	return slices.DeleteFunc(e.Stages(), func(c index.StageChain) bool { return len(c.Chain) == 0 })
}

// sweep walks along both families and groups the stretches between edges by the
// properties that apply there.
func (c *cutter) sweep() []External {
	slices.SortFunc(c.edges, func(a, b edge) int { return a.at.Compare(b.at) })
	count := make([]int, len(c.ids))
	var active []int32 // sorted
	var groups []External
	byKey := map[string]int{}
	var key []byte
	mine, isOwned := c.ids[owned]
	for i := 0; i < len(c.edges); {
		at := c.edges[i].at
		if i > 0 && at.BitLen() != c.edges[i-1].at.BitLen() {
			// The edges after the last IPv4 address are left out: start again.
			clear(count)
			active = active[:0]
		}
		for ; i < len(c.edges) && c.edges[i].at == at; i++ {
			l := c.edges[i].label
			pos, _ := slices.BinarySearch(active, l)
			if c.edges[i].end {
				if count[l]--; count[l] == 0 {
					active = slices.Delete(active, pos, pos+1)
				}
			} else if count[l]++; count[l] == 1 {
				active = slices.Insert(active, pos, l)
			}
		}
		if isOwned && count[mine] > 0 {
			continue
		}
		to := lastOf(netip.PrefixFrom(at, 0))
		if i < len(c.edges) && c.edges[i].at.BitLen() == at.BitLen() {
			to = c.edges[i].at.Prev()
		}
		key = append(key[:0], byte(at.BitLen()))
		for _, l := range active {
			key = binary.AppendUvarint(key, uint64(l))
		}
		g, ok := byKey[string(key)]
		if !ok {
			g = len(groups)
			byKey[string(key)] = g
			groups = append(groups, External{Addr: at, Outside: len(active) == 1}) // the whole family
		}
		groups[g].Ranges = append(groups[g].Ranges, Range{at, to})
	}
	for i := range groups {
		groups[i].Ranges = Join(groups[i].Ranges)
	}
	return groups
}
