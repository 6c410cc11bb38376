package packets

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
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

// BeforeTranslation is the decision, about all that a pod sends to an address, of the
// stages that see a packet before its destination is translated, at the pod's own node.
// What they leave undecided is allowed. The address must have no owner.
func (e *Evaluator) BeforeTranslation(pod, named *Party) *Fate {
	steps := e.steps(pod, named)
	return e.t.compose(steps[:untranslated(steps)])
}

// Translated is Fate for what a pod sends to port from of the address named, which its
// node translates to port to of dst. The courses are those of the translated packets:
// only those to port to are meaningful.
func (e *Evaluator) Translated(pod, named, dst *Party, p model.Protocol, from, to uint16) *Fate {
	before, after := e.steps(pod, named), e.steps(pod, dst)
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
