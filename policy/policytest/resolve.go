package policytest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
	"github.com/tierwall/tierwall/policy/workload"
)

// EphemeralPort is the source port of probes that name none.
const EphemeralPort = 49152

// The ICMP types of an echo request.
const (
	echoRequest4 = 8
	echoRequest6 = 128
)

// FieldError is an error in a case. The field path is relative to the case, as in
// to.port.
type FieldError struct {
	Field, Message string
}

// Error is "field: message".
func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// Resolve turns a case into the packet that is evaluated: names into addresses and port
// numbers, and omitted values into their defaults. A Service stands for its first
// address. The error is a *FieldError.
func (w *World) Resolve(c *v1alpha1.PolicyTestCase) (model.Flow, error) {
	a, err := w.Attempt(c)
	return a.Flow, err
}

// packet is Resolve for a case that has been validated and names no Service.
func (w *World) packet(c *v1alpha1.PolicyTestCase) (model.Flow, error) {
	var f model.Flow
	protocol, err := protocolOf(&c.To)
	if err != nil {
		return f, err
	}
	f.Protocol = protocol
	from, err := w.party(&c.From, "from")
	if err != nil {
		return f, err
	}
	to, err := w.party(&c.To.PolicyTestPeer, "to")
	if err != nil {
		return f, err
	}
	if f.Src, f.Dst, err = chooseFamily(&c.To, protocol, from, to); err != nil {
		return f, err
	}
	if err := setPorts(&f, &c.To, to); err != nil {
		return f, err
	}
	if err := setICMP(&f, &c.To); err != nil {
		return f, err
	}
	return f, nil
}

// validate checks a case as far as possible without a world. The error is a
// *FieldError.
func validate(c *v1alpha1.PolicyTestCase) error {
	switch {
	case c.Name == "":
		return &FieldError{"name", "is missing"}
	case strings.ContainsFunc(c.Name, func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) }):
		return &FieldError{"name", "must be one line of printable text"}
	case c.Expect == "":
		return &FieldError{"expect", "is missing: want Allow or Deny"}
	case c.Expect != v1alpha1.Allow && c.Expect != v1alpha1.Deny:
		return &FieldError{"expect", strconv.Quote(string(c.Expect)) + " is neither Allow nor Deny"}
	case c.ExpectAudited != "" && c.ExpectAudited != v1alpha1.Allow && c.ExpectAudited != v1alpha1.Deny:
		return &FieldError{"expectAudited", strconv.Quote(string(c.ExpectAudited)) + " is neither Allow nor Deny"}
	case c.To.Port != nil && len(c.To.Ports) > 0:
		return &FieldError{"to.ports", "cannot be combined with port"}
	}
	if err := validatePeer(&c.From, "from"); err != nil {
		return err
	}
	if err := validatePeer(&c.To.PolicyTestPeer, "to"); err != nil {
		return err
	}
	if c.From.Service != "" {
		return &FieldError{"from.service", c.From.Service + ": a Service sends no traffic; name one of its pods"}
	}
	if c.From.Domain != "" {
		return &FieldError{"from.domain", c.From.Domain + ": a name stands for receivers only; want ip"}
	}
	if c.DecidedBy == nil {
		return nil
	}
	for _, d := range []struct {
		field string
		*v1alpha1.Decider
	}{{"decidedBy.egress", c.DecidedBy.Egress}, {"decidedBy.ingress", c.DecidedBy.Ingress}} {
		if d.Decider == nil {
			continue
		}
		if d.Policy != "" {
			if _, err := model.ParseRef(d.Policy); err != nil {
				return &FieldError{d.field + ".policy", err.Error()}
			}
		}
		if d.Rule == nil {
			continue
		}
		s := d.Rule.String()
		if n, err := strconv.Atoi(s); s != model.RuleEndOfTier.String() && s != model.RuleDefault.String() && (err != nil || n < 0) {
			return &FieldError{d.field + ".rule", fmt.Sprintf("%q must be an index from 0, %s or %s", s, model.RuleEndOfTier, model.RuleDefault)}
		}
	}
	return nil
}

// validatePeer requires exactly one way to name an endpoint.
func validatePeer(p *v1alpha1.PolicyTestPeer, field string) error {
	var set []string
	for _, v := range []struct{ name, value string }{{"pod", p.Pod}, {"ip", p.IP}, {"hostEndpoint", p.HostEndpoint}, {"node", p.Node}, {"service", p.Service}, {"domain", p.Domain}} {
		if v.value != "" {
			set = append(set, v.name)
		}
	}
	if p.Namespace != "" || p.Selector != "" {
		set = append(set, several)
	}
	switch len(set) {
	case 0:
		want := "pod, ip, hostEndpoint, node"
		if field == "to" {
			want += ", service, domain"
		}
		return &FieldError{field, "is empty: want one of " + want + ", or namespace or selector"}
	case 1:
	default:
		return &FieldError{field, "has " + strings.Join(set, " and ") + ": want exactly one"}
	}
	if _, ok := podRef(p.Pod); p.Pod != "" && !ok {
		return &FieldError{field + ".pod", strconv.Quote(p.Pod) + " is not namespace/name, nor kind/namespace/name of a workload"}
	}
	if ns, name, ok := strings.Cut(p.Service, "/"); p.Service != "" && (!ok || ns == "" || name == "" || strings.Contains(name, "/")) {
		return &FieldError{field + ".service", strconv.Quote(p.Service) + " is not namespace/name"}
	}
	if p.Domain != "" {
		switch d, err := names.ParsePattern(p.Domain); {
		case err != nil:
			return &FieldError{field + ".domain", err.Error()}
		case d.Wildcard():
			return &FieldError{field + ".domain", strconv.Quote(p.Domain) + " is a pattern: want a name"}
		}
	}
	if p.IP != "" {
		if a, err := netip.ParseAddr(p.IP); err != nil || a.Zone() != "" {
			return &FieldError{field + ".ip", "invalid value " + strconv.Quote(p.IP) + ": want an IP address"}
		}
	}
	return nil
}

// podRef parses the name of a pod, namespace/name, or that of a workload with its kind in
// kubectl's words, as in deploy/shop/web.
func podRef(s string) (model.Ref, bool) {
	ref, err := model.ParseRef(s)
	if err == nil && ref.Namespace == "" {
		return model.Ref{Kind: model.KindPod, Namespace: string(ref.Kind), Name: ref.Name}, true
	}
	kind, ok := workload.KindOf(string(ref.Kind))
	ref.Kind = kind
	return ref, err == nil && ok
}

// party resolves a peer that validatePeer has accepted.
func (w *World) party(p *v1alpha1.PolicyTestPeer, field string) (party, error) {
	switch {
	case p.Pod != "":
		ref, _ := podRef(p.Pod)
		found, why := w.pod(ref)
		if why != "" {
			return party{}, &FieldError{field + ".pod", p.Pod + ": " + why}
		}
		return found, nil
	case p.HostEndpoint != "":
		e, ok := w.Index.Endpoint(model.Ref{Kind: model.KindHostEndpoint, Name: p.HostEndpoint})
		if !ok {
			return party{}, &FieldError{field + ".hostEndpoint", p.HostEndpoint + ": host endpoint not found"}
		}
		found := w.hostParty(e.Node, e.Addrs, e.Ports)
		if len(found.addrs) == 0 {
			return party{}, &FieldError{field + ".hostEndpoint", p.HostEndpoint + ": neither the host endpoint nor its node has an address"}
		}
		return found, nil
	case p.Node != "":
		n := w.Index.Node(p.Node)
		if n == nil {
			return party{}, &FieldError{field + ".node", p.Node + ": node not found"}
		}
		if len(n.Addrs) == 0 {
			return party{}, &FieldError{field + ".node", p.Node + ": the node has no address"}
		}
		return party{addrs: n.Addrs, ports: w.nodePorts(p.Node)}, nil
	}
	a, err := netip.ParseAddr(p.IP)
	if err != nil {
		return party{}, &FieldError{field + ".ip", "invalid value " + strconv.Quote(p.IP) + ": want an IP address"}
	}
	found := party{addrs: []netip.Addr{a.Unmap()}}
	if e, ok := w.Index.Endpoint(w.Index.Owner(a.Unmap())); ok {
		found.ports = e.Ports
	}
	return found, nil
}

// nodePorts are the named ports of a node's host endpoints.
func (w *World) nodePorts(node string) []model.NamedPort {
	var out []model.NamedPort
	for _, ref := range w.Index.Endpoints() {
		if ref.Kind != model.KindHostEndpoint {
			continue
		}
		if e, ok := w.Index.Endpoint(ref); ok && e.Node == node {
			out = append(out, e.Ports...)
		}
	}
	return out
}

func protocolOf(t *v1alpha1.PolicyTestTarget) (model.Protocol, error) {
	if t.Protocol == nil {
		return model.TCP, nil
	}
	p, err := model.ParseProtocol(t.Protocol.String())
	if err != nil {
		return 0, &FieldError{"to.protocol", err.Error()}
	}
	return p, nil
}

// chooseFamily picks one address of each party: of the requested IP version, or of the
// first that both have, IPv4 before IPv6. ICMP and ICMPv6 have only one.
func chooseFamily(t *v1alpha1.PolicyTestTarget, protocol model.Protocol, from, to party) (src, dst netip.Addr, err error) {
	versions := []int{4, 6}
	if t.IPVersion != nil {
		if *t.IPVersion != 4 && *t.IPVersion != 6 {
			return src, dst, &FieldError{"to.ipVersion", fmt.Sprintf("%d is neither 4 nor 6", *t.IPVersion)}
		}
		versions = []int{*t.IPVersion}
	}
	for _, v := range versions {
		if protocol == model.ICMPv4 && v == 6 || protocol == model.ICMPv6 && v == 4 {
			continue
		}
		src, dst = firstOf(from.addrs, v), firstOf(to.addrs, v)
		if src.IsValid() && dst.IsValid() {
			return src, dst, nil
		}
	}
	switch {
	case t.IPVersion != nil && (protocol == model.ICMPv4 && *t.IPVersion == 6 || protocol == model.ICMPv6 && *t.IPVersion == 4):
		return src, dst, &FieldError{"to.ipVersion", fmt.Sprintf("%s is not a protocol of IPv%d", protocol, *t.IPVersion)}
	case t.IPVersion != nil:
		return src, dst, &FieldError{"to.ipVersion", fmt.Sprintf("not both sides have an IPv%d address: from %s, to %s", *t.IPVersion, addrList(from.addrs), addrList(to.addrs))}
	case protocol == model.ICMPv4 || protocol == model.ICMPv6:
		return src, dst, &FieldError{"to", fmt.Sprintf("the two sides have no addresses between which %s is possible: from %s, to %s", protocol, addrList(from.addrs), addrList(to.addrs))}
	}
	return src, dst, &FieldError{"to", fmt.Sprintf("the two sides have no IP version in common: from %s, to %s", addrList(from.addrs), addrList(to.addrs))}
}

func firstOf(addrs []netip.Addr, version int) netip.Addr {
	for _, a := range addrs {
		if a.Is4() == (version == 4) {
			return a
		}
	}
	return netip.Addr{}
}

func addrList(addrs []netip.Addr) string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

func setPorts(f *model.Flow, t *v1alpha1.PolicyTestTarget, to party) error {
	if !f.Protocol.HasPorts() {
		switch {
		case t.Port != nil:
			return &FieldError{"to.port", fmt.Sprintf("%s has no ports", f.Protocol)}
		case t.SourcePort != nil:
			return &FieldError{"to.sourcePort", fmt.Sprintf("%s has no ports", f.Protocol)}
		}
		return nil
	}
	f.SrcPort = EphemeralPort
	if t.SourcePort != nil {
		if *t.SourcePort < 1 || *t.SourcePort > 65535 {
			return &FieldError{"to.sourcePort", fmt.Sprintf("%d is not in the range 1-65535", *t.SourcePort)}
		}
		f.SrcPort = uint16(*t.SourcePort)
	}
	if t.Port == nil {
		return &FieldError{"to.port", fmt.Sprintf("is missing: %s needs one", f.Protocol)}
	}
	if n, err := strconv.Atoi(t.Port.String()); err == nil || t.Port.Type == intstr.Int {
		if n < 1 || n > 65535 {
			return &FieldError{"to.port", fmt.Sprintf("%d is not in the range 1-65535", n)}
		}
		f.DstPort = uint16(n)
		return nil
	}
	var known []string
	for _, p := range to.ports {
		if p.Protocol == f.Protocol && p.Name == t.Port.StrVal {
			f.DstPort = p.Port
			return nil
		}
		known = append(known, fmt.Sprintf("%q (%s %d)", p.Name, p.Protocol, p.Port))
	}
	message := fmt.Sprintf("the receiver has no %s port named %q", f.Protocol, t.Port.StrVal)
	if len(known) > 0 {
		message += "; it has " + strings.Join(known, ", ")
	}
	return &FieldError{"to.port", message}
}

func setICMP(f *model.Flow, t *v1alpha1.PolicyTestTarget) error {
	if f.Protocol != model.ICMPv4 && f.Protocol != model.ICMPv6 {
		switch {
		case t.ICMPType != nil:
			return &FieldError{"to.icmpType", "needs protocol ICMP or ICMPv6"}
		case t.ICMPCode != nil:
			return &FieldError{"to.icmpCode", "needs protocol ICMP or ICMPv6"}
		}
		return nil
	}
	f.ICMPType = echoRequest4
	if f.Protocol == model.ICMPv6 {
		f.ICMPType = echoRequest6
	}
	for _, v := range []struct {
		field string
		value *int
		set   *uint8
	}{{"to.icmpType", t.ICMPType, &f.ICMPType}, {"to.icmpCode", t.ICMPCode, &f.ICMPCode}} {
		if v.value == nil {
			continue
		}
		if *v.value < 0 || *v.value > 255 {
			return &FieldError{v.field, fmt.Sprintf("%d is not in the range 0-255", *v.value)}
		}
		*v.set = uint8(*v.value)
	}
	return nil
}
