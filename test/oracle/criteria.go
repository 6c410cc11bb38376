package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func family(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

func hasPorts(p model.Protocol) bool {
	return p == model.TCP || p == model.UDP || p == model.SCTP || p == model.UDPLite
}

func protocolOf(v intstr.IntOrString) (model.Protocol, error) {
	names := map[string]model.Protocol{
		"TCP": model.TCP, "UDP": model.UDP, "SCTP": model.SCTP, "UDPLITE": model.UDPLite,
		"ICMP": model.ICMPv4, "ICMPV6": model.ICMPv6,
	}
	if p, ok := names[strings.ToUpper(v.String())]; ok {
		return p, nil
	}
	n, err := strconv.Atoi(v.String())
	if err != nil || n < 1 || n > 255 {
		return 0, fmt.Errorf("no protocol %q", v.String())
	}
	return model.Protocol(n), nil
}

func icmpMatch(proto model.Protocol, m v1alpha1.ICMPFields) (func(model.Flow) bool, error) {
	switch {
	case proto != model.ICMPv4 && proto != model.ICMPv6,
		m.Type == nil && m.Code != nil,
		m.Type != nil && (*m.Type < 0 || *m.Type > 254),
		m.Code != nil && (*m.Code < 0 || *m.Code > 255):
		return nil, fmt.Errorf("bad icmp fields")
	}
	return func(f model.Flow) bool {
		return (m.Type == nil || int(f.ICMPType) == *m.Type) && (m.Code == nil || int(f.ICMPCode) == *m.Code)
	}, nil
}

// parseNets gives nil for none, so that unset is told from empty.
func parseNets(texts []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for _, t := range texts {
		n, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, err
		}
		nets = append(nets, n.Masked())
	}
	return nets, nil
}

// portRange is a range of ports, or the name of one.
type portRange struct {
	first, last int
	name        string
}

func parsePorts(values []intstr.IntOrString) ([]portRange, error) {
	var ranges []portRange
	for _, v := range values {
		first, last, isRange := strings.Cut(v.String(), ":")
		if !isRange {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		switch {
		case errA != nil && !isRange && first != "":
			ranges = append(ranges, portRange{name: first})
		case errA != nil || errB != nil || a < 1 || b > 65535 || a > b:
			return nil, fmt.Errorf("bad port %q", v.String())
		default:
			ranges = append(ranges, portRange{first: a, last: b})
		}
	}
	return ranges, nil
}

// namesPorts says whose port names count on a policy's own side: of the endpoints
// that share an address, those that the policy selects. What goes through a host
// goes to somebody else. On either side, a positive selector limits them further:
// the endpoint that is matched by label is the one whose ports are meant.
func (p *policy) namesPorts(o *owner) bool {
	return p.untracked || p.preDNAT || p.forward || p.selects(o)
}

// portMatches resolves a name by the endpoints that have the address: "named ports
// resolve per destination pod and protocol" (DESIGN 3).
func (w *World) portMatches(r portRange, counts func(*owner) bool, a netip.Addr, proto model.Protocol, port uint16) bool {
	if r.name == "" {
		return r.first <= int(port) && int(port) <= r.last
	}
	for _, owners := range [][]*owner{w.pods, w.hosts} {
		for _, o := range owners {
			if o.has(a) && counts(o) && slices.Contains(o.ports, model.NamedPort{Name: r.name, Protocol: proto, Port: port}) {
				return true
			}
		}
	}
	return false
}
