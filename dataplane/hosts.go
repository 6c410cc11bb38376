package dataplane

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Hosts are the host endpoints of a node, sorted by name.
type Hosts []Endpoint

// Guard is the host endpoint whose policy forwarded traffic meets: the one of
// all interfaces, else the first by name; nil without any.
func (h Hosts) Guard() *Endpoint {
	if w := h.Wildcard(); w != nil {
		return w
	}
	if len(h) > 0 {
		return &h[0]
	}
	return nil
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
