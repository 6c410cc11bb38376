package verdict

import (
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// StageTrace is a verdict and the steps that led to it.
type StageTrace struct {
	Verdict model.Verdict `json:"verdict"`
	Steps   []Step        `json:"steps,omitempty"`
}

// Explanation is a decision with every rule that was tried on the way.
type Explanation struct {
	model.Decision
	// Traces correspond to the decision's stages, one by one.
	Traces []StageTrace `json:"traces"`
}

// ByName reports whether a rule decided that had the address by its DNS name.
func (e *Explanation) ByName() bool {
	return slices.ContainsFunc(e.Traces, func(t StageTrace) bool {
		return slices.ContainsFunc(t.Steps, func(s Step) bool { return s.Outcome == Decided && len(s.Domains) > 0 })
	})
}

// Decide follows a connection attempt through every stop on its route, up to the first
// that denies it, as of the last Flush. For a complete decision, all endpoints involved
// must be local.
func Decide(ix *index.Index, f model.Flow) model.Decision {
	d := decider{ix: ix}
	d.decide(f)
	return d.Decision
}

// DecideAt is Decide for the stops of one node alone: what this node's kernel decides
// about a packet that it sees, wherever the two ends are, and with the node's own
// addresses and interfaces. A packet about which this node decides nothing is allowed
// and has no stages. An empty name stands for all nodes, as with Decide.
func DecideAt(ix *index.Index, node string, f model.Flow) model.Decision {
	return DecideTranslatedAt(ix, node, f, f)
}

// DecideTranslatedAt is DecideAt for a connection whose destination has been
// translated: the stages before routing see the packet as it arrived, the others as it
// was forwarded.
func DecideTranslatedAt(ix *index.Index, node string, before, after model.Flow) model.Decision {
	d := decider{ix: ix}
	d.decideAt(node, before, after)
	return d.Decision
}

// Explain is Decide with every rule that was tried.
func Explain(ix *index.Index, f model.Flow) *Explanation {
	d := decider{ix: ix, explain: true}
	d.decide(f)
	return &Explanation{Decision: d.Decision, Traces: d.traces}
}

type decider struct {
	model.Decision
	before  model.Flow // as the stages before routing see it
	ix      *index.Index
	explain bool
	traces  []StageTrace
}

func (d *decider) decide(f model.Flow) {
	f.Src, f.Dst = f.Src.Unmap(), f.Dst.Unmap()
	d.before = f
	r := router{ix: d.ix, flow: linked(&d.before)}
	src, dst := EndOf(d.ix, f.Src), EndOf(d.ix, f.Dst)
	r.connect(&src, &dst)
	d.walk(f, r.stops[:r.n])
}

func (d *decider) decideAt(node string, before, after model.Flow) {
	after.Src, after.Dst = after.Src.Unmap(), after.Dst.Unmap()
	before.Src, before.Dst = before.Src.Unmap(), before.Dst.Unmap()
	d.before = before
	r := router{ix: d.ix, flow: linked(&d.before)}
	r.at(node, &before, &after)
	d.walk(after, r.stops[:r.n])
}

// linked returns a copy of the flow if it names links, otherwise nil: most packets
// arrive and leave where their addresses belong, and their verdict should not allocate
// memory for that.
func linked(f *model.Flow) *model.Flow {
	if !f.NamesLinks() {
		return nil
	}
	c := *f
	return &c
}

// walk takes the stops in order, up to one that denies.
func (d *decider) walk(f model.Flow, stops []Stop) {
	d.Flow, d.Action = f, model.Allow
	var settled Settled
	for i := range stops {
		s := &stops[i]
		if s.Unless&settled != 0 {
			continue
		}
		switch d.stop(s) {
		case model.Deny:
			d.Action = model.Deny
			return
		case model.Allow:
			settled |= s.Settles
		}
	}
}

// stop takes one stop, records its verdict and returns what it decides.
func (d *decider) stop(s *Stop) model.Action {
	f := &d.Flow
	if s.BeforeNAT() {
		f = &d.before
	}
	v := model.Verdict{Action: s.Action, Direction: s.Direction, Reason: s.Reason, Rule: model.RuleDefault}
	var steps []Step
	switch s.Kind {
	case StopFailsafe:
		if !s.failsafe(d.ix.Settings(), f) {
			return model.NoAction
		}
		v.Action = model.Allow
	case StopTunnels:
		if !s.tunnels(f) || s.FromBlocks && !d.ix.InPodBlocks(f.Src) {
			return model.NoAction
		}
	case StopChain:
		var trace func(Step)
		if d.explain {
			trace = func(s Step) {
				s.Why = why(d.ix, f, s.Failed)
				steps = append(steps, s)
			}
		}
		v = evaluate(&s.StageChain, f, trace)
	}
	v.Endpoint, v.Stage = s.Endpoint, s.Stage
	if s.Guard != "" {
		v.Policy = model.Ref{Kind: model.KindGuard, Name: string(s.Guard)}
	}
	if v.Audit != nil {
		v.Audit.Endpoint, v.Audit.Stage = v.Endpoint, v.Stage
	}
	d.Stages = append(d.Stages, v)
	if d.explain {
		d.traces = append(d.traces, StageTrace{v, steps})
	}
	return v.Action
}

// failsafe reports whether a StopFailsafe lets a packet pass.
func (s *Stop) failsafe(settings *model.Settings, f *model.Flow) bool {
	list, peer := settings.Failsafe(s.Direction), f.Src
	if s.Direction == model.Egress {
		peer = f.Dst
	}
	return slices.ContainsFunc(list, func(p model.FailsafePort) bool {
		return p.Protocol == f.Protocol && p.Port == f.DstPort && (!p.Net.IsValid() || p.Net.Contains(peer))
	}) || s.tunnels(f)
}

// tunnels reports whether one of the Tunnels carries a packet. An unknown port matches
// none.
func (s *Stop) tunnels(f *model.Flow) bool {
	return slices.ContainsFunc(s.Tunnels, func(t model.Tunnel) bool {
		return t.Protocol == f.Protocol && (!t.Protocol.HasPorts() || t.Port == f.DstPort && t.Port != 0)
	})
}
