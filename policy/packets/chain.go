package packets

import (
	"encoding/binary"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Part is a part of a space and the verdict on it.
type Part struct {
	Space   Space
	Verdict model.Verdict
}

// Outcome is the result of one stage for all packets between two addresses: disjoint
// parts that together cover everything. Verdicts have no Endpoint and no Audit.
// Outcomes of one Table are equal if and only if they are the same pointer.
type Outcome struct {
	id    int32
	Parts []Part
	open  *Space // see undenied; nil: not asked yet
}

// undenied is what the stage does not deny.
func (o *Outcome) undenied() Space {
	if o.open == nil {
		var s Space
		for i := range o.Parts {
			if o.Parts[i].Verdict.Action != model.Deny {
				s = s.Union(o.Parts[i].Space)
			}
		}
		o.open = &s
	}
	return *o.open
}

// outcome interns parts; parts with equal verdicts are merged.
func (t *Table) outcome(parts []Part) *Outcome {
	var joined []Part
next:
	for _, p := range parts {
		if p.Space.IsEmpty() {
			continue
		}
		for i := range joined {
			if joined[i].Verdict == p.Verdict {
				joined[i].Space = joined[i].Space.Union(p.Space)
				continue next
			}
		}
		joined = append(joined, p)
	}
	var key []byte
	for _, p := range joined {
		key = appendVerdict(key, &p.Verdict)
		key = p.Space.AppendKey(key)
	}
	if o, ok := t.outcomes[string(key)]; ok {
		return o
	}
	o := &Outcome{id: int32(len(t.outcomes)), Parts: joined}
	t.outcomes[string(key)] = o
	return o
}

func appendVerdict(b []byte, v *model.Verdict) []byte {
	b = append(b, byte(v.Action), byte(v.Direction))
	for _, text := range []string{string(v.Stage), string(v.Reason), v.Tier, string(v.Policy.Kind), v.Policy.Namespace, v.Policy.Name, v.RuleName} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return binary.AppendVarint(b, int64(v.Rule))
}

// hit is a rule of a half that matches some packets of two addresses.
type hit struct {
	rule  int
	space Space
}

type hitsKey struct{ half, src, dst int32 }

// hitsOf lists the rules of a half that match anything, given the restrictions of their
// sides for the two addresses.
func (t *Table) hitsOf(h *half, src, dst int32) []hit {
	k := hitsKey{h.id, src, dst}
	if got, ok := t.hits[k]; ok {
		return got
	}
	var out []hit
	vs, vd := t.vectors.values[src], t.vectors.values[dst]
	for i := range h.rules {
		if vs[i] == noMatch || vd[i] == noMatch || h.rules[i].never {
			continue
		}
		s := h.rules[i].static
		if vs[i] != anyPorts {
			s = s.Intersect(t.spaces.values[vs[i]])
		}
		if vd[i] != anyPorts {
			s = s.Intersect(t.spaces.values[vd[i]])
		}
		if !s.IsEmpty() {
			out = append(out, hit{i, s})
		}
	}
	t.hits[k] = out
	return out
}

// frame is the context in which a chain is evaluated.
type frame struct {
	stage     model.Stage
	endOfTier bool
	def       model.Action
}

// frame numbers a frame: there are only a handful.
func (t *Table) frame(f frame) int32 {
	i := slices.Index(t.frames, f)
	if i < 0 {
		i = len(t.frames)
		t.frames = append(t.frames, f)
	}
	return int32(i)
}

type resultKey struct{ chain, src, dst, frame int32 }

// result evaluates a chain for all packets in a numbered frame, given the restrictions
// of its policies' sides for the two addresses.
func (t *Table) result(c *chain, numbered, src, dst int32) *Outcome {
	k := resultKey{c.id, src, dst, numbered}
	if got, ok := t.results[k]; ok {
		return got
	}
	f := t.frames[numbered]
	var parts []Part
	decide := func(s Space, v model.Verdict) {
		if !s.IsEmpty() {
			v.Direction, v.Stage = c.dir, f.stage
			parts = append(parts, Part{Space: s, Verdict: v})
		}
	}
	rest := t.walk(c, f, src, dst, func(p Passage) {
		ti := &c.tiers[p.Tier]
		if p.Policy < 0 {
			if p.Action == model.Deny {
				decide(p.Reached, model.Verdict{
					Action: model.Deny, Reason: model.ReasonEndOfTier,
					Tier: ti.name, Policy: ti.last, Rule: model.RuleEndOfTier,
				})
			}
			return
		}
		if h := ti.halves[p.Policy]; !h.audit && (p.Action == model.Allow || p.Action == model.Deny) {
			r := &h.rules[p.Rule]
			decide(p.Reached.Intersect(p.Match), model.Verdict{
				Action: r.action, Reason: model.ReasonRule,
				Tier: ti.name, Policy: h.ref, Rule: model.RuleIndex(r.index), RuleName: r.name,
			})
		}
	})
	decide(rest, model.Verdict{Action: f.def, Reason: model.ReasonDefault, Rule: model.RuleDefault})
	o := t.outcome(parts)
	t.results[k] = o
	return o
}

// Passage is one step of the evaluation of a chain: a rule that matches some
// packets of the two addresses, or the end of a tier.
type Passage struct {
	// Tier and Policy are positions in the index.Chain, Rule one in the policy's rules
	// for the direction. At the end of a tier, Policy and Rule are -1.
	Tier, Policy, Rule int
	// Action of the rule; at the end of the tier, Deny or Pass.
	Action model.Action
	// Reached is what arrives here undecided. At the end of a tier, it is what ends
	// there.
	Reached Space
	// Match is what the rule matches, whether or not it arrives here. At the end of a
	// tier, everything.
	Match Space
}

// walk follows all packets through a chain and returns what no tier decides.
func (t *Table) walk(c *chain, f frame, src, dst int32, visit func(Passage)) Space {
	rest := all
	next := c.merge(t.views.values[src], t.views.values[dst])
	at, srcVector, dstVector := next()
	for i := range c.tiers {
		ti := &c.tiers[i]
		var passed Space
		for ; at >= 0 && at < ti.start+len(ti.halves); at, srcVector, dstVector = next() {
			j := at - ti.start
			h := ti.halves[j]
			for _, hit := range t.hitsOf(h, srcVector, dstVector) {
				r := &h.rules[hit.rule]
				visit(Passage{i, j, hit.rule, r.action, rest, hit.space})
				if h.audit || r.action == model.Log || r.action == model.NoAction {
					continue
				}
				if r.action == model.Pass {
					passed = passed.Union(rest.Intersect(hit.space))
				}
				rest = rest.Subtract(hit.space)
			}
		}
		end := model.Pass
		if ti.enforced && f.endOfTier && ti.def != model.Pass {
			end = model.Deny
		}
		visit(Passage{i, -1, -1, end, rest, all})
		if end == model.Deny {
			rest = passed
		} else {
			rest = rest.Union(passed)
		}
	}
	return rest
}

// merge returns an iterator over the halves that may match between two addresses: the
// position, and the view of each side. The position is -1 at the end.
func (c *chain) merge(src, dst []view) func() (pos int, srcVector, dstVector int32) {
	steady := c.steady
	return func() (int, int32, int32) {
		for len(src) > 0 || len(steady) > 0 {
			var v view
			if len(steady) == 0 || len(src) > 0 && src[0].pos < steady[0] {
				v, src = src[0], src[1:]
			} else {
				v, steady = view{steady[0], c.halves[steady[0]].fixed[source]}, steady[1:]
			}
			h := c.halves[v.pos]
			if h.indifferent[destination] {
				if h.fixed[destination] != noRule {
					return int(v.pos), v.vector, h.fixed[destination]
				}
				continue
			}
			for len(dst) > 0 && dst[0].pos < v.pos {
				dst = dst[1:]
			}
			if len(dst) > 0 && dst[0].pos == v.pos {
				return int(v.pos), v.vector, dst[0].vector
			}
		}
		return -1, noRule, noRule
	}
}
