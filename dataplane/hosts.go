package dataplane

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Hosts are the host endpoints of a node, sorted by name.
type Hosts []Endpoint

// NamedHost is a host endpoint that guards an interface, whatever the address.
type NamedHost struct {
	Interface string
	*Endpoint
}

// Named returns the host endpoints that name an interface, one for each
// interface: of several the first by name. Sorted by interface.
func (h Hosts) Named() []NamedHost {
	var out []NamedHost
	for i := range h {
		name := h[i].Host.Interface
		if name == "" || name == "*" || slices.ContainsFunc(out, func(n NamedHost) bool { return n.Interface == name }) {
			continue
		}
		out = append(out, NamedHost{name, &h[i]})
	}
	slices.SortFunc(out, func(a, b NamedHost) int { return strings.Compare(a.Interface, b.Interface) })
	return out
}

// AddressedHost is a host endpoint that guards an address of the node's.
type AddressedHost struct {
	Addr netip.Addr
	*Endpoint
}

// Addressed returns the host endpoints that name addresses and no interface, one
// for each address: of several the first by name. Sorted by address.
func (h Hosts) Addressed() []AddressedHost {
	var out []AddressedHost
	for i := range h {
		if h[i].Host.Interface != "" {
			continue
		}
		for _, a := range h[i].Addrs {
			if !slices.ContainsFunc(out, func(o AddressedHost) bool { return o.Addr == a }) {
				out = append(out, AddressedHost{a, &h[i]})
			}
		}
	}
	slices.SortFunc(out, func(a, b AddressedHost) int { return a.Addr.Compare(b.Addr) })
	return out
}

// Wildcard is the host endpoint of all interfaces; nil without one.
func (h Hosts) Wildcard() *Endpoint {
	for i := range h {
		if h[i].Host.Interface == "*" {
			return &h[i]
		}
	}
	return nil
}

// HasStage says whether one of them has a program of a stage.
func (h Hosts) HasStage(s model.Stage) bool {
	return slices.ContainsFunc(h, func(e Endpoint) bool {
		return e.Policy != nil && slices.ContainsFunc(e.Policy.Programs, func(p StageProgram) bool { return p.Stage == s })
	})
}

// HasPolicies says whether anything that an endpoint sends or gets could be
// denied in a family: a policy selects it, or none is known.
func (e Endpoint) HasPolicies(f Family) bool {
	if e.Policy == nil {
		return true
	}
	return slices.ContainsFunc(e.Policy.Programs, func(p StageProgram) bool {
		return p.Program.Family == f && (len(p.Program.Segments) > 0 || p.Program.Default.Verdict == Drop)
	})
}
