package packets

import (
	"net/netip"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Service is a Service as its clients use it: its own addresses, which the node on
// which traffic to them starts or arrives translates to those of an endpoint.
type Service struct {
	Ref model.Ref
	// Addrs are its cluster addresses, at most one of each family; empty if it has
	// none, or if they are unknown.
	Addrs []netip.Addr
	// External are its other addresses: external IPs and those of its load balancer.
	External []netip.Addr
	// Headless: it has no cluster address, and its name leads to the endpoints themselves.
	Headless bool
	// LocalInternal and LocalExternal: traffic to the cluster address, or to its other
	// addresses and node ports, reaches only endpoints on the node that translates it.
	LocalInternal, LocalExternal bool
	Ports                        []ServicePort
}

// ServicePort is a port of a Service.
type ServicePort struct {
	Name     string // empty where it has none
	Protocol model.Protocol
	Port     uint16
	// NodePort on the addresses of all nodes; 0 means none.
	NodePort uint16
	// Endpoints that it leads to, sorted; empty if none is known.
	Endpoints []netip.AddrPort
}

// PortOf is the port of a Service with a protocol and number; nil if it has none.
func (s *Service) PortOf(p model.Protocol, port uint16) *ServicePort {
	for i := range s.Ports {
		if q := &s.Ports[i]; q.Protocol == p && q.Port == port {
			return q
		}
	}
	return nil
}

// ResolvesNames reports whether pods use a Service to resolve names, judging by its
// name: all distributions have theirs in kube-system or in a namespace of its own.
func ResolvesNames(service model.Ref) bool {
	return strings.Contains(service.Namespace, "dns") || service.Namespace == "kube-system" && strings.Contains(service.Name, "dns")
}

// Redirect is the packets of a protocol to port from, as they are after this port
// has been translated to another. It is empty for a protocol without ports.
func (s Space) Redirect(p model.Protocol, from, to uint16) Space {
	var out Space
	part := partOf(p)
	if part < 0 || part >= partICMP {
		return out
	}
	cursor := 0
	ys, _ := s.parts[part].at(&cursor, uint32(from))
	out.parts[part] = product(spans{{to, to}}, ys)
	return out
}

// BeforeTranslation is the decision about all that a party sends to an address, of the
// stops that see a packet before its destination is translated: at the party's own
// node or, for the address of another node, there and on the way. What they leave
// undecided is allowed. The address must not be a pod's.
func (e *Evaluator) BeforeTranslation(src, named *Party) *Fate {
	steps, asSent := e.translated(src, named, named)
	return e.t.compose(steps[:asSent])
}

// Translated is Fate for what a party sends to port from of the address named, which a
// node translates to port to of dst. The courses are those of the translated packets:
// only those to port to are meaningful.
func (e *Evaluator) Translated(src, named, dst *Party, p model.Protocol, from, to uint16) *Fate {
	steps, asSent := e.translated(src, named, dst)
	for i := range steps[:asSent] {
		var parts []Part
		for _, part := range steps[i].outcome.Parts {
			parts = append(parts, Part{part.Space.Redirect(p, from, to), part.Verdict})
		}
		steps[i].outcome = e.t.outcome(parts)
	}
	return e.t.compose(steps)
}

// translated are the stops of what is sent to named and received by dst. The first
// asSent see it as it was sent.
func (e *Evaluator) translated(src, named, dst *Party) (steps []step, asSent int) {
	e.stops, asSent = verdict.RouteTranslated(e.ix, e.stops[:0], &src.end, &dst.end, &named.end)
	steps = make([]step, len(e.stops))
	for i := range steps {
		d := dst
		if i < asSent {
			d = named
		}
		steps[i] = e.stepOf(&e.stops[i], src, d)
	}
	return steps, asSent
}

// Answers is the results for what a party sends to a port of the address named, which
// nodes translate to one of the endpoints: Allow if at least one of them receives it, and
// otherwise what denies it on the way to the first. The courses are disjoint; without
// endpoints there are none.
func (e *Evaluator) Answers(src, named *Party, p model.Protocol, port uint16, endpoints []netip.AddrPort) []Course {
	rest := DstPorts(p, port, port)
	var out []Course
	take := func(list []Course) {
		for _, c := range list {
			if c.Space = c.Space.Intersect(rest); !c.Space.IsEmpty() {
				rest = rest.Subtract(c.Space)
				out = append(out, c)
			}
		}
	}
	var denied []Course
	for _, to := range endpoints {
		var allowed []Course
		for _, c := range e.Translated(src, named, e.Party(to.Addr()), p, port, to.Port()).Courses {
			if c.Space = c.Space.Redirect(p, to.Port(), port); c.Action == model.Allow {
				allowed = append(allowed, c)
			} else {
				denied = append(denied, c)
			}
		}
		take(allowed)
	}
	take(denied)
	return out
}
