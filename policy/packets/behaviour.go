package packets

import (
	"encoding/binary"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Role appends what the policies, guards and settings that apply to a party
// come to, in a form that is comparable between Evaluators of one Table:
// parties of equal role and equal sight are treated alike by every peer,
// provided that they are on the same node as the peer, or both are not.
func (e *Evaluator) Role(b []byte, p *Party) []byte {
	switch {
	case p.Pod != nil:
		b = append(b, 'p')
	case p.Host:
		b = append(b, 'h', byte(e.settings.EndpointToHost))
	case p.UnknownWorkload:
		b = append(b, 'w', byte(e.settings.UnknownWorkloads))
	default:
		b = append(b, 'x')
	}
	b = e.chainIDs(b, p.Effective, p.Pod != nil || p.Guard != nil)
	for _, g := range e.surrounding.Guards(&p.end) {
		b = append(append(b, g.Where...), 0)
		b = e.chainIDs(b, e.ix.Effective(g.Endpoint), g.Endpoint != model.Ref{})
	}
	for _, dir := range []model.Direction{model.Ingress, model.Egress} {
		st := verdict.Stop{Kind: verdict.StopFailsafe, StageChain: index.StageChain{Stage: model.StageHost, Direction: dir}}
		b = binary.AppendUvarint(b, uint64(e.failsafeOutcome(&st, p).id))
	}
	return b
}

func (e *Evaluator) chainIDs(b []byte, eff *index.Effective, exists bool) []byte {
	switch {
	case !exists:
		return append(b, '-')
	case eff == nil:
		return append(b, '?')
	}
	ids, ok := e.chainsOf[eff]
	if !ok {
		ids = []byte{'+', byte(eff.DefaultAction)}
		for _, c := range Chains(eff) {
			ids = append(ids, c.Stage[0], c.Stage[len(c.Stage)-1])
			ids = binary.AppendUvarint(ids, uint64(e.chain(c.Chain, c.Direction).id))
		}
		ids = append(ids, ';')
		e.chainsOf[eff] = ids
	}
	return append(b, ids...)
}

// Halves numbers the directions of the policies that apply to any endpoint, sorted.
func (e *Evaluator) Halves() []int32 {
	e.load()
	return sortedKeys(e.rules)
}

// Common is the numbers that are in both sorted lists.
func Common(a, b []int32) []int32 {
	var out []int32
	for _, x := range a {
		if _, ok := slices.BinarySearch(b, x); ok {
			out = append(out, x)
		}
	}
	return out
}

// Sight numbers how the rules of the given halves, one or more, see a party as source and as
// destination: of Evaluators of one Table, equal numbers for equal halves are equal sights. The
// halves must not change.
func (e *Evaluator) Sight(p *Party, halves []int32) int32 {
	if len(halves) == 0 {
		return 0
	}
	seen := e.seen(p)
	if id, ok := seen.whole[&halves[0]]; ok {
		return id
	}
	var b []byte
	for _, id := range halves {
		h := e.t.halfByID[id]
		for _, side := range []int{source, destination} {
			if h.indifferent[side] {
				continue
			}
			if v := e.halfVector(h, side, seen); v != noRule {
				b = binary.AppendUvarint(b, uint64(id)<<1|uint64(side))
				b = binary.AppendUvarint(b, uint64(v))
			}
		}
	}
	id := e.t.sights.id(string(b), struct{}{})
	if seen.whole == nil {
		seen.whole = map[*int32]int32{}
	}
	seen.whole[&halves[0]] = id
	return id
}

// NodeMatters reports whether traffic between two parties depends on their being
// on the same node.
func NodeMatters(s, d *Party) bool {
	return s.Host || d.Host || s.guarded || d.guarded
}
