package policytest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/nearest"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Attempt is a connection attempt as a case names it.
type Attempt struct {
	// Flow as it is sent.
	Flow model.Flow
	// Service that receives it, and its port; zero if it is not sent to a Service.
	Service model.Ref
	Port    uint16
	// Targets are the flows that it is translated to, one for each endpoint of the
	// Service; empty if nothing receives it. A headless Service translates nothing:
	// they are what is sent to each of its endpoints.
	Targets []model.Flow
	// Domain is the name that the receiver was given by; empty: it was given otherwise.
	// The Targets are then what is sent to each of its addresses.
	Domain string
	direct bool
}

// Translated reports whether the flow becomes the Targets on its way, and is not sent
// to them directly.
func (a *Attempt) Translated() bool { return a.Service != (model.Ref{}) && !a.direct }

// Attempt resolves a case like Resolve, and finds the Service that receives what is
// sent to the address. The error is a *FieldError.
func (w *World) Attempt(c *v1alpha1.PolicyTestCase) (Attempt, error) {
	if err := validate(c); err != nil {
		return Attempt{}, err
	}
	if c.To.Service != "" {
		return w.toService(c)
	}
	if c.To.Domain != "" {
		return w.toDomain(c)
	}
	f, err := w.packet(c)
	if err != nil {
		return Attempt{}, err
	}
	a := Attempt{Flow: f}
	dst := verdict.EndOf(w.Index, f.Dst)
	if dst.Pod() != (model.Ref{}) {
		return a, nil
	}
	if m, ok := service.Find(w.services, f.Dst, f.Protocol, f.DstPort, dst.IsHost()); ok {
		w.translate(&a, m)
	}
	return a, nil
}

// translate fills in where a Service leads.
func (w *World) translate(a *Attempt, m service.Match) {
	a.Service, a.Port = m.Service.Ref, a.Flow.DstPort
	if m.Port == nil {
		return
	}
	a.Port = m.Port.Port
	src, dst := verdict.EndOf(w.Index, a.Flow.Src), verdict.EndOf(w.Index, a.Flow.Dst)
	node, only := m.OnlyNode(placeOf(&src), placeOf(&dst))
	for _, to := range m.Port.Endpoints {
		if to.Addr().Is4() != a.Flow.Dst.Is4() {
			continue
		}
		if end := verdict.EndOf(w.Index, to.Addr()); only && end.Node() != node {
			continue
		}
		f := a.Flow
		f.Dst, f.DstPort = to.Addr(), to.Port()
		a.Targets = append(a.Targets, f)
	}
}

// placeOf is where an end is.
func placeOf(e *verdict.End) service.Place {
	return service.Place{Node: e.Node(), Inside: inside(e), Host: e.IsHost()}
}

// EntryNode is the node at which traffic from outside for a target arrives, if the
// address does not determine that because it belongs to no node. Empty for all other
// traffic.
func (w *World) EntryNode(a *Attempt, target *model.Flow) string {
	src, named, to := verdict.EndOf(w.Index, a.Flow.Src), verdict.EndOf(w.Index, a.Flow.Dst), verdict.EndOf(w.Index, target.Dst)
	if inside(&src) || named.IsHost() {
		return ""
	}
	return to.Node()
}

// inside reports whether an end is a pod or a node.
func inside(e *verdict.End) bool { return e.Pod() != (model.Ref{}) || e.IsHost() }

// toService resolves a case that names a Service.
func (w *World) toService(c *v1alpha1.PolicyTestCase) (Attempt, error) {
	svc, err := w.service(c.To.Service)
	if err != nil {
		return Attempt{}, err
	}
	port, err := servicePort(svc, &c.To)
	if err != nil {
		return Attempt{}, err
	}
	sent := c.DeepCopy()
	number, protocol := intstr.FromInt32(int32(port.Port)), intstr.FromInt32(int32(port.Protocol))
	sent.To.Port, sent.To.Protocol = &number, &protocol
	from, err := w.party(&c.From, "from")
	if err != nil {
		return Attempt{}, err
	}
	addrs, direct := svc.Addrs, false
	if len(addrs) == 0 {
		direct = true // to the endpoints themselves: none of its addresses is known
		for _, e := range port.Endpoints {
			addrs = append(addrs, e.Addr())
		}
	}
	a := Attempt{Service: svc.Ref, Port: port.Port, direct: direct}
	if len(addrs) == 0 {
		a.Flow = model.Flow{Src: firstAddr(from.addrs), Protocol: port.Protocol, SrcPort: EphemeralPort, DstPort: port.Port}
		return a, nil
	}
	src, dst, err := chooseFamily(&sent.To, port.Protocol, from, party{addrs: addrs})
	if err != nil {
		return Attempt{}, err
	}
	a.Flow = model.Flow{Src: src, Dst: dst, Protocol: port.Protocol}
	if err := setPorts(&a.Flow, &sent.To, party{}); err != nil {
		return Attempt{}, err
	}
	w.translate(&a, service.Match{Service: svc, Port: port, Internal: !direct})
	return a, nil
}

func firstAddr(addrs []netip.Addr) netip.Addr {
	if len(addrs) == 0 {
		return netip.Addr{}
	}
	return addrs[0]
}

// service finds a Service by namespace/name, or by name if the namespace is a word for
// Services, as in svc/web, and only one Service has the name.
func (w *World) service(name string) (*packets.Service, error) {
	ns, short, _ := strings.Cut(name, "/")
	ref := model.Ref{Kind: model.KindService, Namespace: ns, Name: short}
	var named []*packets.Service
	refs := make([]model.Ref, 0, len(w.services))
	for i := range w.services {
		s := &w.services[i]
		if s.Ref == ref {
			return s, nil
		}
		if refs = append(refs, s.Ref); s.Ref.Name == short {
			named = append(named, s)
		}
	}
	why := "there is no such Service"
	if isServiceWord(ns) {
		switch len(named) {
		case 0:
		case 1:
			return named[0], nil
		default:
			why = fmt.Sprintf("namespaces %s and %s both have a Service of this name; want NAMESPACE/%s", named[0].Ref.Namespace, named[1].Ref.Namespace, short)
		}
	} else if n, ok := nearest.Ref(ref, refs); ok {
		why += "; did you mean " + n.Namespace + "/" + n.Name + "?"
	}
	return nil, &FieldError{"to.service", name + ": " + why}
}

// isServiceWord reports whether kubectl reads a word as the kind Service.
func isServiceWord(s string) bool {
	return slices.Contains([]string{"svc", "service", "services"}, strings.ToLower(s))
}

// servicePort finds the port that a case names: by number or name, of the protocol if
// the case gives one. A Service with one port needs none.
func servicePort(s *packets.Service, t *v1alpha1.PolicyTestTarget) (*packets.ServicePort, error) {
	var found []*packets.ServicePort
	var have []string
	for i := range s.Ports {
		p := &s.Ports[i]
		text := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.Name != "" {
			text = p.Name + " (" + text + ")"
		}
		have = append(have, text)
		if t.Port != nil && t.Port.String() != p.Name && t.Port.String() != strconv.Itoa(int(p.Port)) {
			continue
		}
		if t.Protocol != nil {
			protocol, err := protocolOf(t)
			if err != nil {
				return nil, err
			}
			if protocol != p.Protocol {
				continue
			}
		}
		found = append(found, p)
	}
	if len(found) > 1 && t.Protocol == nil { // one number, of two protocols
		if i := slices.IndexFunc(found, func(p *packets.ServicePort) bool { return p.Protocol == model.TCP }); i >= 0 && t.Port != nil {
			found = found[i : i+1]
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, &FieldError{"to.port", "is missing: " + s.Ref.String() + " has " + strings.Join(have, ", ")}
	case len(have) == 0:
		return nil, &FieldError{"to.service", s.Ref.String() + " has no ports"}
	}
	return nil, &FieldError{"to.port", s.Ref.String() + " has no such port; it has " + strings.Join(have, ", ")}
}

// Explain explains an attempt: one explanation, or one for each endpoint of the Service,
// or each address of the name, that it is sent to.
func (w *World) Explain(a *Attempt) []*verdict.Explanation {
	if a.Service == (model.Ref{}) && a.Domain == "" {
		return []*verdict.Explanation{verdict.Explain(w.Index, a.Flow)}
	}
	if len(a.Targets) == 0 {
		return []*verdict.Explanation{refused(a)}
	}
	out := make([]*verdict.Explanation, len(a.Targets))
	for i, f := range a.Targets {
		if a.Translated() {
			out[i] = verdict.ExplainTranslated(w.Index, a.Flow, f)
		} else {
			out[i] = verdict.Explain(w.Index, f)
		}
	}
	return out
}

// Decide is Explain without the rules that were tried.
func (w *World) Decide(a *Attempt) []*model.Decision {
	if a.Service == (model.Ref{}) && a.Domain == "" {
		d := verdict.Decide(w.Index, a.Flow)
		return []*model.Decision{&d}
	}
	var out []*model.Decision
	for _, e := range w.Explain(a) {
		out = append(out, &e.Decision)
	}
	return out
}

// refused is the result for traffic that no endpoint receives.
func refused(a *Attempt) *verdict.Explanation {
	v := model.Verdict{
		Action: model.Deny, Direction: model.Ingress, Stage: model.StageWorkload, Endpoint: a.Service,
		Reason: model.ReasonNoServiceEndpoint, Rule: model.RuleDefault,
	}
	return &verdict.Explanation{
		Decision: model.Decision{Flow: a.Flow, Action: model.Deny, Stages: []model.Verdict{v}},
		Traces:   []verdict.StageTrace{{Verdict: v}},
	}
}

// CompareAll is Compare for each endpoint of a Service, or each address of a name: the
// case must hold for all.
func CompareAll(c *v1alpha1.PolicyTestCase, decisions []*model.Decision) []string {
	var out []string
	for _, d := range decisions {
		for _, text := range Compare(c, d) {
			if len(decisions) > 1 {
				text = d.Flow.Dst.String() + ": " + text
			}
			out = append(out, text)
		}
	}
	return out
}
