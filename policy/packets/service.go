package packets

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Service is a Service as its clients use it: its own addresses, which the node that
// they are sent from, or come in at, translates to those of an endpoint.
type Service struct {
	Ref model.Ref
	// Addrs are its cluster addresses, at most one of each family; empty where it has
	// none, or where they are not known.
	Addrs []netip.Addr
	// External are its other addresses: external IPs and those of its load balancer.
	External []netip.Addr
	// Headless: it has no cluster address, and its name leads to the endpoints themselves.
	Headless bool
	// LocalInternal and LocalExternal: what is sent to the cluster address, or to one of
	// the others and to node ports, gets to endpoints on the node that translates alone.
	LocalInternal, LocalExternal bool
	Ports                        []ServicePort
}

// ServicePort is a port of a Service.
type ServicePort struct {
	Name     string // empty where it has none
	Protocol model.Protocol
	Port     uint16
	// NodePort on the addresses of all nodes; 0: none.
	NodePort uint16
	// Endpoints that it leads to, sorted; empty where none is known.
	Endpoints []netip.AddrPort
}

// PortOf is the port of a Service of a protocol and number; nil where it has none.
func (s *Service) PortOf(p model.Protocol, port uint16) *ServicePort {
	for i := range s.Ports {
		if q := &s.Ports[i]; q.Protocol == p && q.Port == port {
			return q
		}
	}
	return nil
}

// ResolvesNames reports whether pods use a Service to resolve names, by its name:
// all distributions have theirs in kube-system or in a namespace of its own.
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

// BeforeTranslation is what the stages that see a packet before its destination is
// translated decide of all that a pod sends to an address, at the pod's own node.
// What they leave undecided is allowed. The address must be nobody's.
func (e *Evaluator) BeforeTranslation(pod, named *Party) *Fate {
	steps := e.plan(pod, named)
	return e.t.compose(steps[:untranslated(steps)])
}

// Translated is Fate for what a pod sends to port from of the address named, which
// its node translates to port to of dst. The courses are those of the translated
// packets: only those to port to mean anything.
func (e *Evaluator) Translated(pod, named, dst *Party, p model.Protocol, from, to uint16) *Fate {
	before, after := e.plan(pod, named), e.plan(pod, dst)
	steps := slices.Clone(before[:untranslated(before)])
	for i := range steps {
		var parts []Part
		for _, part := range steps[i].outcome.Parts {
			parts = append(parts, Part{part.Space.Redirect(p, from, to), part.Verdict})
		}
		steps[i].outcome = e.t.outcome(parts)
	}
	return e.t.compose(append(steps, after[untranslated(after):]...))
}

// untranslated is the number of leading steps that come before translation. Those
// of the receiver's node come later.
func untranslated(steps []step) int {
	n := 0
	for n < len(steps) && steps[n].beforeNAT {
		n++
	}
	return n
}
