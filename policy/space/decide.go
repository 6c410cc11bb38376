package space

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// Region is a part of the traffic between two addresses whose fate is the same.
type Region struct {
	Space Space
	// Decision as policy.Index.Decide gives it for each packet of the space.
	// Its Flow has addresses only, and no Verdict has an Audit.
	Decision model.Decision
}

// Decide follows everything that src can send dst. The regions are disjoint
// and together are all traffic. All endpoints involved must be local to the Index.
func Decide(ix *policy.Index, src, dst netip.Addr) []Region {
	e := NewEvaluator(ix)
	return e.Decide(e.Party(src), e.Party(dst))
}

// Decide is as the function of that name, for parties of this Evaluator.
func (e *Evaluator) Decide(s, d *Party) []Region {
	steps := e.plan(s, d)
	parts := e.t.compose(steps)
	out := make([]Region, len(parts))
	for i, p := range parts {
		dec := model.Decision{Flow: model.Flow{Src: s.Addr, Dst: d.Addr}, Action: p.Verdict.Action}
		for _, st := range p.stages {
			v := st.verdict
			v.Endpoint = steps[st.step].endpoint
			dec.Stages = append(dec.Stages, v)
		}
		out[i] = Region{p.Space, dec}
	}
	return out
}
