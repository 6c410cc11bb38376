package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Action is the action of a rule or a default.
type Action uint8

// The actions. The zero value means none.
const (
	NoAction Action = iota
	Allow
	Deny
	Log
	Pass
)

var actionNames = [...]string{"", "Allow", "Deny", "Log", "Pass"}

// String is the API's spelling.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "Action(" + strconv.Itoa(int(a)) + ")"
}

// MarshalText makes actions strings in JSON and YAML.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (a *Action) UnmarshalText(b []byte) error {
	for i, name := range actionNames {
		if name == string(b) {
			*a = Action(i)
			return nil
		}
	}
	return fmt.Errorf("unsupported action %q", b)
}

// Direction is the side of an endpoint that a policy governs.
type Direction uint8

// The directions.
const (
	Ingress Direction = iota
	Egress
)

// String is ingress or egress.
func (d Direction) String() string {
	if d == Ingress {
		return "ingress"
	}
	return "egress"
}

// MarshalText makes directions strings in JSON and YAML.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Direction) UnmarshalText(b []byte) error {
	switch string(b) {
	case Ingress.String():
		*d = Ingress
	case Egress.String():
		*d = Egress
	default:
		return fmt.Errorf("unsupported direction %q: want ingress or egress", b)
	}
	return nil
}

// Protocol is an IANA protocol number; 0 means any.
type Protocol uint8

// The protocols that have names in the API.
const (
	AnyProtocol Protocol = 0
	ICMPv4      Protocol = 1
	TCP         Protocol = 6
	UDP         Protocol = 17
	ICMPv6      Protocol = 58
	SCTP        Protocol = 132
	UDPLite     Protocol = 136
)

var protocolNames = map[Protocol]string{
	ICMPv4: "ICMP", TCP: "TCP", UDP: "UDP", ICMPv6: "ICMPv6", SCTP: "SCTP", UDPLite: "UDPLite",
}

// String is the API's name, the number if it has none, and "any" for 0.
func (p Protocol) String() string {
	if p == AnyProtocol {
		return "any"
	}
	if n, ok := protocolNames[p]; ok {
		return n
	}
	return strconv.Itoa(int(p))
}

// MarshalText makes protocols strings in JSON and YAML.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (p *Protocol) UnmarshalText(b []byte) error {
	if string(b) == AnyProtocol.String() {
		*p = AnyProtocol
		return nil
	}
	got, err := ParseProtocol(string(b))
	if err == nil {
		*p = got
	}
	return err
}

// HasPorts reports whether packets of the protocol carry ports.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP || p == SCTP || p == UDPLite }

// ParseProtocol reads a name (in any case) or a number 1–255.
func ParseProtocol(s string) (Protocol, error) {
	for p, name := range protocolNames {
		if strings.EqualFold(s, name) {
			return p, nil
		}
	}
	if n, err := strconv.ParseUint(s, 10, 16); err == nil && n >= 1 && n <= 255 {
		return Protocol(n), nil
	}
	return 0, fmt.Errorf("unsupported protocol %q: want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255", s)
}
