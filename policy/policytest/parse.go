package policytest

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/workload"
)

// ParseCase reads who connects to whom on which PORT/PROTOCOL as a policy test's case, so
// that both mean the same. In errors the three are called from, to and port after the
// prefix.
func ParseCase(prefix, from, to, port string) (*v1alpha1.PolicyTestCase, error) {
	pc := &v1alpha1.PolicyTestCase{Name: "explain", Expect: v1alpha1.Allow}
	var err error
	if pc.From, err = ParsePeer(prefix+"from", from); err != nil {
		return nil, err
	}
	if pc.To.PolicyTestPeer, err = ParsePeer(prefix+"to", to); err != nil {
		return nil, err
	}
	number, protocol, both := strings.Cut(port, "/")
	if !both {
		if p, err := model.ParseProtocol(port); err == nil && strings.Trim(port, "0123456789") != "" {
			if p.HasPorts() {
				return nil, fmt.Errorf("%sport %s: %s needs a port: want PORT/%s", prefix, port, p, p)
			}
			number, protocol = "", port
		}
	}
	if protocol != "" {
		p := intstr.Parse(protocol)
		pc.To.Protocol = &p
	}
	if number != "" {
		p := intstr.Parse(number)
		pc.To.Port = &p
	}
	return pc, nil
}

// ParsePeer reads the name of an end of a connection, as people write it, as a policy
// test has it. field is its name in errors.
func ParsePeer(field, s string) (p v1alpha1.PolicyTestPeer, err error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return v1alpha1.PolicyTestPeer{IP: s}, nil
	}
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		kind, rest = "pod", s
		if !strings.Contains(s, "/") && strings.Contains(s, ".") { // a pod has a namespace before its name
			kind = "domain"
		}
		// As Tierwall prints it. No namespace is called like a kind, with a capital.
		if r, err := model.ParseRef(s); err == nil {
			switch r.Kind {
			case model.KindPod, model.KindHostEndpoint, model.KindNode, model.KindService:
				kind, rest = string(r.Kind), strings.TrimPrefix(s, string(r.Kind)+"/")
			}
			if r.Kind == model.KindService || isServiceWord(string(r.Kind)) {
				if kind = string(model.KindService); r.Namespace == "" {
					rest = s // svc/web, as kubectl has it: of the only namespace that has one
				} else {
					rest = r.Namespace + "/" + r.Name
				}
			}
		}
	}
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
		p.Pod = rest
	case "ip":
		p.IP = rest
	case "hostendpoint", "hep":
		p.HostEndpoint = rest
	case "node":
		p.Node = rest
	case "svc", "service", "services":
		p.Service = rest
	case "domain":
		p.Domain = rest
	default:
		if _, ok := workload.KindOf(kind); ok {
			p.Pod = kind + "/" + rest
			break
		}
		return p, fmt.Errorf("%s %q: want pod:NAMESPACE/NAME, ip:ADDRESS, hostEndpoint:NAME, node:NAME, svc:NAMESPACE/NAME or domain:NAME", field, s)
	}
	if rest == "" {
		return p, fmt.Errorf("%s %q: the name is missing", field, s)
	}
	return p, nil
}
