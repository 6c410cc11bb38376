package reach

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// Unit is a group that the policies of an Index treat alike: the pods of a workload, a
// node or a host endpoint, or outside addresses.
type Unit struct {
	// Name in human-readable form: namespace/workload, Node/name, HostEndpoint/name, or
	// the addresses.
	Name string
	// Namespace of pods; empty for all others.
	Namespace string
	// Members are the endpoints or nodes, sorted; empty for outside addresses.
	Members []model.Ref
	// Ports that the first member names, by number.
	Ports []model.NamedPort

	members  []member
	workload string // namespace/name
	class    int    // units of equal class are treated alike
}

// member is one endpoint, node or address of a unit.
type member struct {
	ref     model.Ref
	parties []*packets.Party // at most one of each family, IPv4 first
}

// Options of New. The zero value is usable.
type Options struct {
	// Workload names the workload that a pod belongs to. If it is nil, or returns an
	// empty name, each pod is its own workload.
	Workload func(pod model.Ref) string
	// Evaluator of the Index, which others may use too; nil: one of its own.
	Evaluator *packets.Evaluator
}

// Map contains the Units of an Index. It reads the Index as of its last Flush, and all
// endpoints must be local. Not safe for concurrent use.
type Map struct {
	// Pods, Hosts and Outside are the units, each in a fixed order.
	Pods, Hosts, Outside []*Unit

	ev      *packets.Evaluator
	halves  []int32 // of all policies that govern anything
	classes map[string]int
	between map[[2]int][]Way
}

// New divides all addresses into units.
func New(ix *index.Index, o Options) *Map {
	m := &Map{ev: o.Evaluator, classes: map[string]int{}, between: map[[2]int][]Way{}}
	if m.ev == nil {
		m.ev = packets.NewEvaluator(ix)
	}
	m.halves = m.ev.Halves()
	m.pods(ix, o.Workload)
	m.hosts(ix)
	for _, g := range m.ev.Outside() {
		p := m.ev.Party(g.Addr)
		u := &Unit{Name: externalName(&g, p), members: []member{{parties: []*packets.Party{p}}}}
		u.class = m.class(&u.members[0])
		m.Outside = append(m.Outside, u)
	}
	return m
}

// pods groups the pods of each workload that are treated alike into a unit.
func (m *Map) pods(ix *index.Index, workload func(model.Ref) string) {
	type key struct {
		namespace, workload string
		class               int
	}
	units, split := map[key]*Unit{}, map[[2]string]int{}
	for _, ref := range ix.Endpoints() {
		e, ok := ix.Endpoint(ref)
		if !ok || ref.Kind != model.KindPod {
			continue
		}
		x := m.member(ref, slices.DeleteFunc(slices.Clone(e.Addrs), func(a netip.Addr) bool { return ix.Owner(a) != ref }))
		if len(x.parties) == 0 {
			continue
		}
		name := ""
		if workload != nil {
			name = workload(ref)
		}
		k := key{ref.Namespace, cmp.Or(name, ref.Name), m.class(&x)}
		u := units[k]
		if u == nil {
			u = &Unit{Name: k.namespace + "/" + k.workload, Namespace: k.namespace, Ports: numbered(e.Ports), workload: k.namespace + "/" + k.workload, class: k.class}
			units[k] = u
			split[[2]string{k.namespace, k.workload}]++
			m.Pods = append(m.Pods, u)
		}
		u.Members, u.members = append(u.Members, ref), append(u.members, x)
	}
	for k, u := range units {
		if split[[2]string{k.namespace, k.workload}] > 1 {
			// The workload's pods are not treated alike: each group is named after its
			// first pod.
			u.Name = k.namespace + "/" + u.Members[0].Name
		}
	}
	slices.SortFunc(m.Pods, func(a, b *Unit) int { return cmp.Compare(a.Name, b.Name) })
}

// Workload returns the units of the pods of a workload, by its namespace/name; empty if
// there are none.
func (m *Map) Workload(name string) []*Unit {
	var out []*Unit
	for _, u := range m.Pods {
		if u.workload == name {
			out = append(out, u)
		}
	}
	return out
}

// hosts makes a unit of each node, and of each host endpoint whose addresses are not a
// node's.
func (m *Map) hosts(ix *index.Index) {
	taken := map[netip.Addr]bool{}
	add := func(ref model.Ref, addrs []netip.Addr) {
		x := m.member(ref, slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return taken[a.Unmap()] }))
		if len(x.parties) == 0 {
			return
		}
		for _, a := range addrs {
			taken[a.Unmap()] = true
		}
		m.Hosts = append(m.Hosts, &Unit{Name: ref.String(), Members: []model.Ref{ref}, members: []member{x}, class: m.class(&x)})
	}
	for _, n := range ix.Nodes() {
		add(n.Key(), n.Addrs)
	}
	for _, ref := range ix.Endpoints() {
		if e, ok := ix.Endpoint(ref); ok && ref.Kind == model.KindHostEndpoint {
			add(ref, e.Addrs)
		}
	}
}

// Address is the unit of one address: that of its owner, or of the address alone.
func (m *Map) Address(a netip.Addr) *Unit {
	p := m.ev.Party(a)
	u := &Unit{Name: a.String(), members: []member{{parties: []*packets.Party{p}}}}
	if p.Pod != nil {
		u.Name, u.Members, u.Ports = fmt.Sprintf("%s (%s)", p.Pod.Ref, a), []model.Ref{p.Pod.Ref}, numbered(p.Pod.Ports)
		u.members[0].ref = p.Pod.Ref
	}
	u.class = m.class(&u.members[0])
	return u
}

// member keeps the first address of each family.
func (m *Map) member(ref model.Ref, addrs []netip.Addr) member {
	x := member{ref: ref}
	for _, v4 := range []bool{true, false} {
		if i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Unmap().Is4() == v4 }); i >= 0 {
			x.parties = append(x.parties, m.ev.Party(addrs[i]))
		}
	}
	return x
}

// class returns a number that is equal for members that are treated alike.
func (m *Map) class(x *member) int {
	var key []byte
	for _, p := range x.parties {
		key = append(key, byte(p.Addr.BitLen()))
		key = binary.LittleEndian.AppendUint32(m.ev.Role(key, p), uint32(m.ev.Sight(p, m.halves)))
	}
	id, ok := m.classes[string(key)]
	if !ok {
		id = len(m.classes)
		m.classes[string(key)] = id
	}
	return id
}

func numbered(ports []model.NamedPort) []model.NamedPort {
	out := slices.Clone(ports)
	slices.SortFunc(out, func(a, b model.NamedPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return slices.CompactFunc(out, func(a, b model.NamedPort) bool { return a.Port == b.Port && a.Protocol == b.Protocol })
}

// maxBlocks is how many address blocks the name of outside addresses lists.
const maxBlocks = 4

func externalName(g *packets.External, p *packets.Party) string {
	family := "IPv6"
	if g.Addr.Is4() {
		family = "IPv4"
	}
	switch {
	case p.UnknownWorkload:
		return "unused pod addresses (" + family + ")"
	case g.Outside:
		return "anywhere outside (" + family + ")"
	}
	var blocks []string
	all := packets.Prefixes(g.Ranges)
	for _, b := range all[:min(len(all), maxBlocks)] {
		blocks = append(blocks, b.String())
	}
	if n := len(all) - len(blocks); n > 0 {
		blocks = append(blocks, fmt.Sprintf("%d more blocks", n))
	}
	return strings.Join(blocks, ", ")
}
