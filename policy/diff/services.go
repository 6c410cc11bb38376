package diff

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
)

// serviceAddr is an address of a Service that both worlds have, with the ports that
// both have.
type serviceAddr struct {
	ref    model.Ref
	family uint8
	a, b   *packets.Party
	// inA and inB are the Service in each world.
	inA, inB *packets.Service
	ports    [][2]packets.ServicePort
}

// services compares which Services pods reach, as far as policies decide before the
// Services' addresses are translated: what comes after is between the pods and the
// Services' endpoints.
func (d *differ) services(n *names, classes []*class) []Change {
	byKey := map[string]*serviceChange{}
	addrs := d.serviceAddrs()
	for _, c := range classes {
		f := c.first()
		if f.a == nil || f.b == nil || f.a.Pod == nil || f.b.Pod == nil {
			continue
		}
		for i := range addrs {
			s := &addrs[i]
			if s.family != f.family {
				continue
			}
			before, after := d.a.BeforeTranslation(f.a, s.a), d.b.BeforeTranslation(f.b, s.b)
			if before.Undecided() && after.Undecided() {
				break // the pods' interfaces are not guarded, whatever the address
			}
			if before == after {
				continue
			}
			for _, x := range c.atoms {
				for _, found := range d.toService(x, s, before, after) {
					note(byKey, found, s.ref, x.index)
				}
			}
		}
	}
	return n.serviceChanges(byKey)
}

// serviceAddrs pairs the Services of both worlds. Addresses of pods and hosts are
// left out: they are compared as such.
func (d *differ) serviceAddrs() []serviceAddr {
	after := map[model.Ref]*packets.Service{}
	for i := range d.opts.ServicesAfter {
		after[d.opts.ServicesAfter[i].Ref] = &d.opts.ServicesAfter[i]
	}
	var out []serviceAddr
	for i := range d.opts.ServicesBefore {
		a := &d.opts.ServicesBefore[i]
		b := after[a.Ref]
		if b == nil {
			continue
		}
		var ports [][2]packets.ServicePort
		for _, p := range a.Ports {
			if j := slices.IndexFunc(b.Ports, func(q packets.ServicePort) bool { return p.Protocol == q.Protocol && p.Port == q.Port }); j >= 0 {
				ports = append(ports, [2]packets.ServicePort{p, b.Ports[j]})
			}
		}
		for _, family := range []uint8{4, 6} {
			for _, p := range pairUp(ofFamily(a.Addrs, family), ofFamily(b.Addrs, family)) {
				if !p[0].IsValid() || !p[1].IsValid() {
					continue
				}
				s := serviceAddr{a.Ref, family, d.a.Party(p[0]), d.b.Party(p[1]), a, b, ports}
				if s.a.Pod == nil && !s.a.Host && s.b.Pod == nil && !s.b.Host {
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// toService compares what a pod sends to an address of a Service. before and after are
// the fates of all that it sends there before translation, in each world.
func (d *differ) toService(x *atom, s *serviceAddr, before, after *packets.Fate) []delta {
	var out []delta
	for i := range s.ports {
		p := &s.ports[i]
		all := packets.DstPorts(p[0].Protocol, p[0].Port, p[0].Port)
		openA, openB := all, all
		if len(p[0].Endpoints) > 0 {
			openA = open(d.a, x.a, s.a, s.inA, &p[0])
		}
		if len(p[1].Endpoints) > 0 {
			openB = open(d.b, x.b, s.b, s.inB, &p[1])
		}
		for j := range before.Courses {
			for k := range after.Courses {
				a, b := &before.Courses[j], &after.Courses[k]
				if a.Action == b.Action {
					continue
				}
				delivered := openB
				if a.Action == model.Allow {
					delivered = openA
				}
				part := a.Space.Intersect(b.Space).Intersect(all).Intersect(delivered)
				if c, ok := d.changeOf(a, b); ok && !part.IsEmpty() {
					out = add(out, delta{c, part})
				}
			}
		}
	}
	return out
}

// open is what a pod may send to a port of a Service so that at least one of its
// endpoints gets it.
func open(e *packets.Evaluator, pod, named *packets.Party, s *packets.Service, p *packets.ServicePort) packets.Space {
	var out packets.Space
	m := service.Match{Service: s, Port: p, Internal: true}
	node, only := m.OnlyNode(service.Place{Node: pod.Node, Inside: true}, service.Place{})
	for _, to := range p.Endpoints {
		end := e.Party(to.Addr())
		if to.Addr().Is4() != pod.Addr.Is4() || only && end.Node != node {
			continue
		}
		f := e.Translated(pod, named, end, p.Protocol, p.Port, to.Port())
		for i := range f.Courses {
			if c := &f.Courses[i]; c.Action == model.Allow {
				out = out.Union(c.Space.Redirect(p.Protocol, to.Port(), p.Port))
			}
		}
	}
	return out
}

// serviceChange is one change of the traffic of some pods to one Service.
type serviceChange struct {
	delta
	service model.Ref
	from    members
}

func note(byKey map[string]*serviceChange, found delta, service model.Ref, from int) {
	key := string(found.space.AppendKey(appendSides(appendSides(fmt.Appendf(nil, "%s %d\n", service, found.kind.rank()), found.before), found.after)))
	c := byKey[key]
	if c == nil {
		c = &serviceChange{delta: found, service: service}
		byKey[key] = c
	}
	if !c.from.has(from) {
		i, _ := slices.BinarySearch(c.from, from)
		c.from = slices.Insert(c.from, i, from)
	}
}

// serviceChanges joins the Services of which the same holds for the same pods. Those
// that resolve names stay apart.
func (n *names) serviceChanges(byKey map[string]*serviceChange) []Change {
	list := make([]*serviceChange, 0, len(byKey))
	for _, c := range byKey {
		list = append(list, c)
	}
	slices.SortFunc(list, func(x, y *serviceChange) int {
		return cmp.Or(x.service.Compare(y.service), x.space.Compare(y.space), slices.Compare(x.from, y.from))
	})
	var out []Change
	at := map[string]int{}
	for _, c := range list {
		key := appendSides(appendSides(fmt.Appendf(nil, "%d %t\n", c.kind.rank(), packets.ResolvesNames(c.service)), c.before), c.after)
		key = c.space.AppendKey(key)
		for _, i := range c.from {
			key = binary.AppendUvarint(key, uint64(i))
		}
		if i, ok := at[string(key)]; ok {
			out[i].To.Services = append(out[i].To.Services, c.service)
			continue
		}
		at[string(key)] = len(out)
		families := n.familiesOf(c.from)
		from := n.peers(c.from, nil, c.kind, families)
		ch := Change{
			Kind: c.kind, From: from, To: Peers{Services: []model.Ref{c.service}},
			Traffic: Traffic{Space: c.space}, Before: outcomeOf(c.before), After: outcomeOf(c.after),
		}
		if len(families) == 1 && n.hasOther(c.from, families[0]) && len(n.addressesOf(c.service, 10-families[0])) > 0 {
			ch.Family = fmt.Sprintf("IPv%d", families[0])
		}
		out = append(out, ch)
	}
	for i := range out {
		out[i].To.Text = n.serviceText(out[i].To.Services)
	}
	return out
}

func (n *names) familiesOf(m members) []uint8 {
	var has [2]bool
	for _, i := range m {
		has[slot(n.atoms[i].family)] = true
	}
	var out []uint8
	for _, family := range []uint8{4, 6} {
		if has[slot(family)] {
			out = append(out, family)
		}
	}
	return out
}

// addressesOf are the addresses of a Service of one family.
func (n *names) addressesOf(service model.Ref, family uint8) []netip.Addr {
	return ofFamily(n.serviceAddrs[service], family)
}

// serviceText names Services, one alone with its addresses.
func (n *names) serviceText(list []model.Ref) string {
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = r.String()
	}
	if len(list) > 1 {
		return cut(texts)
	}
	var addrs []string
	for _, a := range n.serviceAddrs[list[0]] {
		addrs = append(addrs, a.String())
	}
	return texts[0] + " (" + strings.Join(addrs, ", ") + ")"
}
