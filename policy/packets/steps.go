package packets

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// step is a verdict.Stop between two parties, with its decision about all packets.
type step struct {
	outcome *Outcome
	// endpoint whose policy it is; zero if none.
	endpoint model.Ref
	// settles and unless are those of the stop.
	settles, unless verdict.Settled
	// quiet steps leave no verdict if they do not decide.
	quiet bool
}

// steps are the stops between two parties, in order.
func (e *Evaluator) steps(s, d *Party) []step {
	e.stops = verdict.Route(e.ix, e.stops[:0], &s.end, &d.end)
	steps := make([]step, len(e.stops))
	for i := range e.stops {
		steps[i] = e.stepOf(&e.stops[i], s, d)
	}
	return steps
}

// stepOf is a stop for packets between two parties.
func (e *Evaluator) stepOf(st *verdict.Stop, s, d *Party) step {
	return step{
		outcome: e.outcomeOf(st, s, d), endpoint: st.Endpoint, settles: st.Settles, unless: st.Unless,
		quiet: st.Kind == verdict.StopFailsafe || st.Kind == verdict.StopTunnels,
	}
}

// outcomeOf is the decision of a stop about all packets between two parties.
func (e *Evaluator) outcomeOf(st *verdict.Stop, s, d *Party) *Outcome {
	switch st.Kind {
	case verdict.StopChain:
		return e.evaluate(st.StageChain, s, d)
	case verdict.StopFailsafe:
		peer := s
		if st.Direction == model.Egress {
			peer = d
		}
		return e.failsafeOutcome(st, peer)
	case verdict.StopTunnels:
		return e.tunnelsOutcome(st)
	}
	v := model.Verdict{Action: st.Action, Direction: st.Direction, Stage: st.Stage, Reason: st.Reason, Rule: model.RuleDefault}
	return e.t.outcome([]Part{{Space: all, Verdict: v}})
}

type failsafeKey struct {
	dir   model.Direction
	stage model.Stage
}

func (e *Evaluator) failsafeOutcome(st *verdict.Stop, peer *Party) *Outcome {
	k := failsafeKey{st.Direction, st.Stage}
	seen := e.seen(peer)
	if got := seen.failsafe[k]; got != nil && len(st.Tunnels) == 0 {
		return got
	}
	open := e.FailsafeSpace(st.Direction, peer.Addr)
	open = open.Union(tunnelSpace(st.Tunnels))
	v := model.Verdict{Action: model.Allow, Direction: st.Direction, Stage: st.Stage, Reason: model.ReasonFailsafe, Rule: model.RuleDefault}
	o := e.t.outcome([]Part{
		{Space: open, Verdict: v},
		{Space: open.complement(), Verdict: model.Verdict{Direction: st.Direction, Stage: st.Stage}},
	})
	if len(st.Tunnels) == 0 {
		if seen.failsafe == nil {
			seen.failsafe = map[failsafeKey]*Outcome{}
		}
		seen.failsafe[k] = o
	}
	return o
}

// tunnelsOutcome denies what the nodes' tunnels carry.
func (e *Evaluator) tunnelsOutcome(st *verdict.Stop) *Outcome {
	shut := tunnelSpace(st.Tunnels)
	v := model.Verdict{
		Action: model.Deny, Direction: st.Direction, Stage: st.Stage, Reason: st.Reason, Rule: model.RuleDefault,
		Policy: model.Ref{Kind: model.KindGuard, Name: string(st.Guard)},
	}
	return e.t.outcome([]Part{
		{Space: shut, Verdict: v},
		{Space: shut.complement(), Verdict: model.Verdict{Direction: st.Direction, Stage: st.Stage}},
	})
}

// tunnelSpace is the traffic of tunnels. An unknown port matches none.
func tunnelSpace(tunnels []model.Tunnel) Space {
	var s Space
	for _, t := range tunnels {
		switch {
		case !t.Protocol.HasPorts():
			s = s.Union(Protocol(t.Protocol))
		case t.Port != 0:
			s = s.Union(DstPorts(t.Protocol, t.Port, t.Port))
		}
	}
	return s
}

// FailsafeSpace is the traffic of a host with a peer that no policy can close: from the
// peer to the host with dir Ingress, and from the host to the peer with Egress.
func (e *Evaluator) FailsafeSpace(dir model.Direction, peer netip.Addr) Space {
	var s Space
	for _, f := range e.settings.Failsafe(dir) {
		if !f.Net.IsValid() || f.Net.Contains(peer) {
			s = s.Union(DstPorts(f.Protocol, f.Port, f.Port))
		}
	}
	return s
}
