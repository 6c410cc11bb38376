package translate

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// traffic is what a rule says about protocol and ports; the zero value is any.
type traffic struct {
	portGroup
	icmp *v1alpha1.ICMPFields
}

// contradicts reports whether no packet of a side's IP family is of the protocol.
func (w *traffic) contradicts(side *ciliumSide) bool {
	if w.protocol == nil {
		return false
	}
	family := side.ipVersion
	if len(side.entity.Nets) > 0 {
		family = 4
		if strings.Contains(side.entity.Nets[0], ":") {
			family = 6
		}
	}
	return w.protocol.StrVal == "ICMP" && family == 6 || w.protocol.StrVal == "ICMPv6" && family == 4
}

// ciliumTraffic translates the ports and ICMP types of a rule. limited says
// that it has any. An Allow loses what only holds above layer 4.
func (t *translation) ciliumTraffic(path string, r *ciliumRule, allow bool) (out []traffic, limited bool, err error) {
	if len(r.ports) > 0 && len(r.icmps) > 0 {
		return nil, false, fmt.Errorf("%s: toPorts and icmps cannot be combined in one rule", path)
	}
	var g portGroups
	for i := range r.ports {
		p := &r.ports[i]
		at := fmt.Sprintf("%s.toPorts[%d]", path, i)
		above := p.aboveLayer4()
		for _, field := range above {
			t.lose(at+"."+field, "application-layer rules have no equivalent; what they let through is not allowed")
		}
		if len(above) > 0 {
			continue
		}
		if len(p.Ports) == 0 && !allow {
			return []traffic{{}}, true, nil // whatever it means, it is denied
		}
		for j := range p.Ports {
			if err := g.addCilium(&p.Ports[j]); err != nil {
				return nil, false, fmt.Errorf("%s.ports[%d].%w", at, j, err)
			}
		}
	}
	for _, group := range g.groups {
		out = append(out, traffic{portGroup: group})
	}
	for i, rule := range r.icmps {
		for j, f := range rule.Fields {
			at := fmt.Sprintf("%s.icmps[%d].fields[%d]", path, i, j)
			protocol, names := "ICMP", icmpTypes
			switch {
			case strings.EqualFold(f.Family, "IPv6"):
				protocol, names = "ICMPv6", icmpv6Types
			case f.Family != "" && !strings.EqualFold(f.Family, "IPv4"):
				return nil, false, fmt.Errorf("%s.family: %q is not one of IPv4, IPv6", at, f.Family)
			}
			p := intstr.FromString(protocol)
			one := traffic{portGroup: portGroup{protocol: &p}}
			n, ok := icmpType(f.Type, names)
			switch {
			case ok:
				one.icmp = &v1alpha1.ICMPFields{Type: &n}
			case allow:
				t.lose(at+".type", "is not a type that a rule can name; it is not allowed")
				continue
			default:
				t.lose(at+".type", "is not a type that a rule can name; all of %s is denied", protocol)
			}
			out = append(out, one)
		}
	}
	limited = len(r.ports) > 0 || len(r.icmps) > 0
	if !limited {
		out = []traffic{{}}
	}
	return out, limited, nil
}

// aboveLayer4 names the fields that look at more than ports.
func (p *ciliumPortRule) aboveLayer4() []string {
	var out []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"rules", p.Rules != nil && len(*p.Rules) > 0},
		{"serverNames", len(p.ServerNames) > 0},
		{"terminatingTLS", p.TerminatingTLS != nil},
		{"originatingTLS", p.OriginatingTLS != nil},
		{"listener", p.Listener != nil},
	} {
		if f.set {
			out = append(out, f.name)
		}
	}
	return out
}

// addCilium adds a port, of all protocols with ports if it names none.
func (g *portGroups) addCilium(p *ciliumPort) error {
	var port *intstr.IntOrString // nil is any
	number, err := strconv.ParseUint(p.Port.String(), 10, 16)
	switch name := p.Port.String(); {
	case err == nil && number > 0:
		if p.EndPort < 0 || p.EndPort > 65535 {
			return fmt.Errorf("endPort: %d is not a port", p.EndPort)
		}
		v := portRange(int32(number), max(int32(number), p.EndPort))
		port = &v
	case err == nil:
	case name == "" || strings.Trim(name, "-0123456789") == "":
		return fmt.Errorf("port: %q is neither a port nor the name of one", name)
	default:
		v := intstr.FromString(strings.ToLower(name))
		port = &v
	}
	switch protocol := strings.ToUpper(p.Protocol); protocol {
	case "", "ANY":
		for _, name := range transports {
			g.add(name, port)
		}
	case "TCP", "UDP", "SCTP":
		g.add(protocol, port)
	case "IGMP":
		g.add("2", nil)
	case "VRRP":
		g.add("112", nil)
	default:
		return fmt.Errorf("protocol: %q is not one of TCP, UDP, SCTP, ANY", p.Protocol)
	}
	return nil
}

// icmpType reads a type by number or name. Rules can name the types 0–254.
func icmpType(v *intstr.IntOrString, names map[string]int) (int, bool) {
	if v == nil {
		return 0, false
	}
	if n, ok := names[strings.ToLower(v.String())]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(v.String(), 10, 8)
	return int(n), err == nil && n <= 254
}

// Names of ICMP and ICMPv6 types, in lower case.
var (
	icmpTypes = map[string]int{
		"echoreply": 0, "destinationunreachable": 3, "redirect": 5, "echo": 8, "echorequest": 8,
		"routeradvertisement": 9, "routerselection": 10, "timeexceeded": 11, "parameterproblem": 12,
		"timestamp": 13, "timestampreply": 14, "photuris": 40, "extendedechorequest": 42, "extendedechoreply": 43,
	}
	icmpv6Types = map[string]int{
		"destinationunreachable": 1, "packettoobig": 2, "timeexceeded": 3, "parameterproblem": 4,
		"echorequest": 128, "echoreply": 129, "multicastlistenerquery": 130, "multicastlistenerreport": 131,
		"multicastlistenerdone": 132, "routersolicitation": 133, "routeradvertisement": 134,
		"neighborsolicitation": 135, "neighboradvertisement": 136, "redirectmessage": 137, "routerrenumbering": 138,
	}
)
