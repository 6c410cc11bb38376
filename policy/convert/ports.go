package convert

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/policy/model"
)

const portForms = "want a number 1-65535, a range such as 8080:8090, or the name of a port"

// parsePort reads a port of a Tierwall rule.
func parsePort(v intstr.IntOrString) (model.Port, error) {
	if v.Type == intstr.Int {
		n, err := portNumber(int64(v.IntVal))
		return model.Port{First: n, Last: n}, err
	}
	s := v.StrVal
	if first, last, ok := strings.Cut(s, ":"); ok {
		a, errA := strconv.ParseInt(first, 10, 64)
		b, errB := strconv.ParseInt(last, 10, 64)
		if errA != nil || errB != nil {
			return model.Port{}, fmt.Errorf("invalid value %s: %s", quote(s), portForms)
		}
		from, errA := portNumber(a)
		to, errB := portNumber(b)
		switch {
		case errA != nil:
			return model.Port{}, fmt.Errorf("range %s: %w", quote(s), errA)
		case errB != nil:
			return model.Port{}, fmt.Errorf("range %s: %w", quote(s), errB)
		case from > to:
			return model.Port{}, fmt.Errorf("range %s runs backwards: want %d:%d", quote(s), to, from)
		}
		return model.Port{First: from, Last: to}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		p, err := portNumber(n)
		return model.Port{First: p, Last: p}, err
	}
	if !isRulePortName(s) {
		return model.Port{}, fmt.Errorf("invalid value %s: %s", quote(s), portForms)
	}
	return model.Port{Name: s}, nil
}

// portNumber checks the range of a port number.
func portNumber(n int64) (uint16, error) {
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("port %d is out of range: want 1-65535", n)
	}
	return uint16(n), nil
}

// isRulePortName reports whether a Tierwall rule or host endpoint may use s as
// the name of a port: wider than a container's port names. A letter is
// required, so that "80-90" is not taken for a name.
func isRulePortName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	letter := false
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
		letter = letter || isLetter(c)
	}
	return letter
}

const containerPortNames = "want at most 15 characters a-z, 0-9 or '-', at least one of them a letter, '-' neither first, last nor doubled"

// isContainerPortName reports whether a container's port can have the name s.
func isContainerPortName(s string) bool {
	if s == "" || len(s) > 15 || s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--") {
		return false
	}
	letter := false
	for i := range len(s) {
		c := s[i]
		if !isLower(c) && !isDigit(c) && c != '-' {
			return false
		}
		letter = letter || isLower(c)
	}
	return letter
}

// ports reads ports of one side of a Tierwall rule, in its field name.
func (r *report) ports(side *field.Path, name string, in []intstr.IntOrString) []model.Port {
	if len(in) == 0 {
		return nil
	}
	path := side.Child(name)
	r.atMost(side, name, len(in), maxPorts)
	var out []model.Port
	seen := map[model.Port]bool{}
	for i, v := range in {
		p, err := parsePort(v)
		switch {
		case err != nil:
			r.errorf(path.Index(i), "%v", err)
		case seen[p]:
			r.warnf(path.Index(i), "duplicate value %s", v.String())
		default:
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// protocol reads a protocol of a Tierwall rule, in its field name; nil is none.
func (r *report) protocol(rule *field.Path, name string, v *intstr.IntOrString) model.Protocol {
	if v == nil {
		return model.AnyProtocol
	}
	p, err := model.ParseProtocol(v.String())
	if err != nil {
		r.errorf(rule.Child(name), "unsupported protocol %s: want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255", quote(v.String()))
	}
	return p
}

// kubernetesProtocol reads a protocol of a Kubernetes kind, in the one spelling
// that an API server accepts.
func kubernetesProtocol(v corev1.Protocol) (model.Protocol, error) {
	switch v {
	case corev1.ProtocolTCP:
		return model.TCP, nil
	case corev1.ProtocolUDP:
		return model.UDP, nil
	case corev1.ProtocolSCTP:
		return model.SCTP, nil
	}
	return 0, fmt.Errorf("unsupported protocol %s: want TCP, UDP or SCTP", quote(string(v)))
}

// portProtocol reads a protocol that endpoints' ports can have, of a Tierwall kind.
func portProtocol(s string) (model.Protocol, error) {
	p, err := model.ParseProtocol(s)
	if err != nil || p != model.TCP && p != model.UDP && p != model.SCTP {
		return 0, fmt.Errorf("unsupported protocol %s: want TCP, UDP or SCTP", quote(s))
	}
	return p, nil
}
