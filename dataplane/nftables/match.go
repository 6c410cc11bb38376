package nftables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/policy/index"
)

// matches returns the texts of which one must match for all conditions to hold;
// none if that cannot be. Apart are texts of which never more than one matches.
func (b *builder) matches(conds []dataplane.Cond, apart bool) []string {
	conds = slices.Clone(conds)
	slices.SortStableFunc(conds, func(x, y dataplane.Cond) int { return cost(&x) - cost(&y) })
	out := []string{""}
	portless := slices.ContainsFunc(conds, func(c dataplane.Cond) bool {
		return c.Kind == dataplane.CondProtocol && !c.Not && !c.Protocol.HasPorts()
	})
	for i := range conds {
		if portless && asksForPort(&conds[i]) {
			// No packet has such a port; nft cannot even list a rule that asks for it.
			if conds[i].Not {
				continue
			}
			return nil
		}
		alternatives := b.cond(&conds[i], apart)
		next := make([]string, 0, len(out)*len(alternatives))
		for _, m := range out {
			for _, a := range alternatives {
				next = append(next, strings.TrimSpace(m+" "+a))
			}
		}
		out = next
	}
	return out
}

func asksForPort(c *dataplane.Cond) bool {
	switch c.Kind {
	case dataplane.CondSrcPorts, dataplane.CondDstPorts, dataplane.CondSrcAddrPort, dataplane.CondDstAddrPort:
		return true
	}
	return false
}

// cost orders conditions: what looks at the packet alone before look-ups.
func cost(c *dataplane.Cond) int {
	switch {
	case c.Kind == dataplane.CondProtocol:
		return 0
	case c.Kind == dataplane.CondICMP:
		return 1
	case c.Set == nil:
		return 2
	case !c.Set.IsCore():
		return 3
	}
	return 4
}

func (b *builder) cond(c *dataplane.Cond, apart bool) []string {
	is := ""
	if c.Not {
		is = "!= "
	}
	switch c.Kind {
	case dataplane.CondProtocol:
		return []string{"meta l4proto " + is + protocol(c.Protocol)}
	case dataplane.CondICMP:
		name := "icmp"
		if b.family == dataplane.IPv6 {
			name = "icmpv6"
		}
		switch {
		case !c.HasCode:
			return []string{fmt.Sprintf("%s type %s%d", name, is, c.Type)}
		case !c.Not:
			return []string{fmt.Sprintf("%s type %d %s code %d", name, c.Type, name, c.Code)}
		}
		return []string{
			fmt.Sprintf("%s type != %d", name, c.Type),
			fmt.Sprintf("%s type %d %s code != %d", name, c.Type, name, c.Code),
		}
	case dataplane.CondSrcPorts:
		return b.ports("th sport", is, c.Ports)
	case dataplane.CondDstPorts:
		return b.ports("th dport", is, c.Ports)
	}
	return b.lookup(c, apart)
}

// ports returns the match of a port. Ranges go into a set of their own where there are several.
func (b *builder) ports(field, is string, ports []dataplane.PortRange) []string {
	if len(ports) == 0 {
		if is == "" {
			return nil
		}
		return []string{""}
	}
	if len(ports) == 1 {
		return []string{field + " " + is + nft.PortText(ports[0].First, ports[0].Last)}
	}
	if name, ok := b.portSets[&ports[0]]; ok {
		return []string{field + " " + is + "@" + name}
	}
	s := &nft.Set{Types: "inet_service", Elems: map[string]string{}}
	s.Interval = slices.ContainsFunc(ports, func(p dataplane.PortRange) bool { return p.First != p.Last })
	for _, p := range ports {
		if s.Interval {
			s.Elems[nft.PortRangeKey(p.First, p.Last)] = ""
		} else {
			s.Elems[nft.PortKey(p.First)] = ""
		}
	}
	s.Name = "o-" + naming.Hash(slices.Sorted(maps.Keys(s.Elems))...)
	b.u.use(b.w.hold(s.Name, func(u *unit) { b.w.ownSet(u, s) }))
	if b.portSets == nil {
		b.portSets = map[*dataplane.PortRange]string{}
	}
	b.portSets[&ports[0]] = s.Name
	return []string{field + " " + is + "@" + s.Name}
}

// lookup returns the matches of a set's members.
func (b *builder) lookup(c *dataplane.Cond, apart bool) []string {
	ip := "ip"
	if b.family == dataplane.IPv6 {
		ip = "ip6"
	}
	field, port := ip+" saddr", "th sport"
	if c.Kind == dataplane.CondDstAddr || c.Kind == dataplane.CondDstAddrPort {
		field, port = ip+" daddr", "th dport"
	}
	if !c.Set.IsCore() && len(c.Set.Nets) == 1 {
		switch all := c.Set.Nets[0].Bits() == 0; {
		case all && c.Not:
			return nil
		case all:
			return []string{""}
		case c.Not:
			return []string{field + " != " + blockText(c.Set.Nets[0])}
		}
		return []string{field + " " + blockText(c.Set.Nets[0])}
	}
	su := b.u.ask(b.w.set(c.Set, b.family))
	var fields []string
	for _, name := range su.kernel {
		f := field
		switch name[len(name)-1] {
		case kindAddrPorts:
			f += " . meta l4proto . " + port
		case kindAddrProtos:
			f += " . meta l4proto"
		}
		if c.Not {
			f += " !="
		}
		fields = append(fields, f+" @"+name)
	}
	switch {
	case c.Not:
		return []string{strings.Join(fields, " ")}
	case apart && len(fields) == 2:
		fields[1] = strings.Replace(fields[0], " @", " != @", 1) + " " + fields[1]
	}
	return fields
}

// The last letters of the names of kernel sets, by what they hold.
const (
	kindAddrs      = 'a'
	kindBlocks     = 'b'
	kindAddrPorts  = 'p' // address . protocol . port
	kindAddrProtos = 'q' // address . protocol, for all its ports
)

// set holds the kernel's sets for one of the core, or for a rule's own blocks,
// in one family: one for addresses and one for blocks, or one for addresses with
// ports and one for those with all ports. The first is always there for a set of
// the core, so that rules do not depend on which pods there are; the second only
// as long as something is in it, because few sets have any blocks, and rules that
// look something up in vain cost every packet.
func (w *world) set(s *dataplane.Set, f dataplane.Family) *unit {
	key := fmt.Sprintf("set %s %d", s.ID, f)
	return w.hold(key, func(u *unit) {
		one, two := kernelSets(s, f)
		members := w.state.Compiled.Members(s)
		for _, m := range members {
			if key, block := memberKey(m, f); key != "" && !block && !isExtra(s, m) {
				one.Elems[key] = ""
			}
		}
		if s.IsCore() || len(one.Elems) > 0 {
			w.ownSet(u, one)
		}
		if two.Elems = extras(s, members, f); len(two.Elems) > 0 {
			w.ownSet(u, two)
		}
		if !s.IsCore() {
			return
		}
		if w.core[s.ID] == nil {
			w.core[s.ID] = map[*unit]dataplane.Family{}
		}
		w.core[s.ID][u] = f
		u.gone = func() {
			if delete(w.core[s.ID], u); len(w.core[s.ID]) == 0 {
				delete(w.core, s.ID)
			}
			delete(w.reshaped, u)
		}
	})
}

// isExtra says whether a member that is no block belongs into the second set.
func isExtra(s *dataplane.Set, m index.Member) bool {
	return s.Kind == index.SetAddrPorts && m.Port == 0
}

// kernelSets returns the two kernel sets of a set, empty.
func kernelSets(s *dataplane.Set, f dataplane.Family) (one, two *nft.Set) {
	name, types := fmt.Sprintf("s-%s-%d", s.ID, f), addrType(f)
	one = &nft.Set{Name: name + string(kindAddrs), Comment: s.Text, Types: types, Elems: map[string]string{}}
	two = &nft.Set{Name: name + string(kindBlocks), Comment: s.Text, Types: types, Interval: true, Elems: map[string]string{}}
	if s.Kind == index.SetAddrPorts {
		one.Name, one.Types = name+string(kindAddrPorts), types+" . inet_proto . inet_service"
		two.Name, two.Types, two.Interval = name+string(kindAddrProtos), types+" . inet_proto", false
	}
	return one, two
}

// extras returns the elements of the second set.
func extras(s *dataplane.Set, members []index.Member, f dataplane.Family) map[string]string {
	if s.Kind == index.SetAddrs {
		return blockKeys(members, f)
	}
	out := map[string]string{}
	for _, m := range members {
		if key, _ := memberKey(m, f); key != "" && isExtra(s, m) {
			out[key] = ""
		}
	}
	return out
}

// changeSet brings the kernel's sets for a set of the core up to date.
func (w *world) changeSet(sc *dataplane.SetChange) {
	for u, f := range w.core[sc.Set.ID] {
		extra := false
		each := func(members []index.Member, change func(key string)) {
			for _, m := range members {
				switch key, block := memberKey(m, f); {
				case block, key != "" && isExtra(sc.Set, m):
					extra = true
				case key != "":
					change(key)
				}
			}
		}
		each(sc.Removed, func(key string) { w.DropElem(u.kernel[0], key) })
		each(sc.Added, func(key string) { w.PutElem(u.kernel[0], key, "") })
		if extra {
			w.changeExtras(u, sc.Set, f)
		}
	}
}

// changeExtras brings the second set up to date: it comes with its first element and goes with its last.
func (w *world) changeExtras(u *unit, s *dataplane.Set, f dataplane.Family) {
	_, two := kernelSets(s, f)
	elems := extras(s, w.state.Compiled.Members(s), f)
	switch had := len(u.kernel) > 1; {
	case had && len(elems) == 0:
		w.DropSet(two.Name)
		u.kernel = u.kernel[:1]
		w.reshaped[u] = struct{}{}
	case had:
		w.SetElems(two.Name, elems)
	case len(elems) > 0:
		two.Elems = elems
		w.ownSet(u, two)
		w.reshaped[u] = struct{}{}
	}
}

// remakeUsers writes the rules anew that ask for sets which have come or gone.
func (w *world) remakeUsers() {
	users := map[*unit]struct{}{}
	for u := range w.reshaped {
		for v := range u.users {
			users[v] = struct{}{}
		}
	}
	clear(w.reshaped)
	for u := range users {
		if u.over == nil || !u.over() {
			w.remake(u)
		}
	}
}

// memberKey returns a member as a key, or "" if it is not of the family; blocks
// have no key of their own, because they are merged.
func memberKey(m index.Member, f dataplane.Family) (key string, block bool) {
	a := m.Prefix.Addr()
	switch {
	case dataplane.FamilyOf(a) != f:
		return "", false
	case !m.Prefix.IsSingleIP():
		return "", true
	case m.Protocol == 0:
		return nft.AddrKey(a), false
	case m.Port == 0:
		return nft.ProtocolKey(a, uint8(m.Protocol)), false
	}
	return nft.ServicePortKey(a, uint8(m.Protocol), m.Port), false
}

// blockKeys returns the blocks among members as keys of disjoint ranges, merged.
func blockKeys(members []index.Member, f dataplane.Family) map[string]string {
	var blocks []netip.Prefix
	for _, m := range members {
		if !m.Prefix.IsSingleIP() && dataplane.FamilyOf(m.Prefix.Addr()) == f {
			blocks = append(blocks, m.Prefix.Masked())
		}
	}
	out := map[string]string{}
	for _, r := range mergeBlocks(blocks) {
		out[r.Key()] = ""
	}
	return out
}
