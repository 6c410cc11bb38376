package space

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// Evaluator evaluates an Index for whole spaces. It reads the Index as of its
// last Flush and remembers: make a new one after a change. Not safe for
// concurrent use.
type Evaluator struct {
	ix *policy.Index
	t  *Table

	chains  map[chainSlice]*chain
	rules   map[int32][]policy.Rule // of halves, with the sets of this Index
	triples map[*policy.Set]*triples
	parties map[netip.Addr]*Party
	// hosts are the host endpoints by node, sorted by name; unplaced ones under "".
	hosts    map[string][]*model.Endpoint
	podCIDRs []netip.Prefix
	settings *model.Settings
}

type chainSlice struct {
	first *policy.TierChain
	len   int
	dir   model.Direction
}

// NewEvaluator returns an Evaluator with results of its own.
func NewEvaluator(ix *policy.Index) *Evaluator { return NewTable().Evaluator(ix) }

// Evaluator returns an Evaluator that shares what the table knows.
func (t *Table) Evaluator(ix *policy.Index) *Evaluator {
	e := &Evaluator{
		ix: ix, t: t,
		chains: map[chainSlice]*chain{}, rules: map[int32][]policy.Rule{},
		triples: map[*policy.Set]*triples{}, parties: map[netip.Addr]*Party{},
		hosts: map[string][]*model.Endpoint{}, settings: ix.Settings(),
	}
	if e.settings == nil {
		e.settings = model.DefaultSettings()
	}
	for _, r := range ix.Endpoints() {
		if r.Kind != model.KindHostEndpoint {
			continue
		}
		if h, ok := ix.Endpoint(r); ok && h.Host != nil {
			e.hosts[h.Node] = append(e.hosts[h.Node], h)
		}
	}
	for _, list := range e.hosts {
		slices.SortFunc(list, func(a, b *model.Endpoint) int { return strings.Compare(a.Ref.Name, b.Ref.Name) })
	}
	for _, n := range ix.Nodes() {
		e.podCIDRs = append(e.podCIDRs, n.PodCIDRs...)
	}
	return e
}

// Index is the Index that is evaluated.
func (e *Evaluator) Index() *policy.Index { return e.ix }

// chain numbers a chain of this Index.
func (e *Evaluator) chain(c policy.Chain, dir model.Direction) *chain {
	if len(c) == 0 {
		return e.t.chain(nil, dir)
	}
	k := chainSlice{&c[0], len(c), dir}
	if n, ok := e.chains[k]; ok {
		return n
	}
	n := e.t.chain(c, dir)
	e.chains[k] = n
	for i, ti := range n.tiers {
		for j, h := range ti.halves {
			e.rules[h.id] = rulesOf(c[i].Policies[j], dir)
		}
	}
	return n
}

// sideVector numbers what each policy of a chain says about an address on one side.
func (e *Evaluator) sideVector(c *chain, side int, p *Party) int32 {
	k := sideKey{c.id, side}
	if id, ok := p.ofChain[k]; ok {
		return id
	}
	var v []int32
	for i := range c.tiers {
		for _, h := range c.tiers[i].halves {
			v = append(v, e.halfVector(h, side, p))
		}
	}
	id := e.t.vector(v)
	p.ofChain[k] = id
	return id
}

func (e *Evaluator) halfVector(h *half, side int, p *Party) int32 {
	k := sideKey{h.id, side}
	if id, ok := p.ofHalf[k]; ok {
		return id
	}
	rules := e.rules[h.id]
	v := make([]int32, len(rules))
	for i := range rules {
		n := int(h.sides[side][i])
		for len(p.ofSide) <= n {
			p.ofSide = append(p.ofSide, unasked)
		}
		if p.ofSide[n] == unasked {
			p.ofSide[n] = e.side(&rules[i], side, p.Addr)
		}
		v[i] = p.ofSide[n]
	}
	id := e.t.vector(v)
	p.ofHalf[k] = id
	return id
}

// evaluate evaluates one chain for all packets between two parties.
func (e *Evaluator) evaluate(c policy.Chain, dir model.Direction, f frame, src, dst *Party) *Outcome {
	n := e.chain(c, dir)
	return e.t.result(n, f, e.sideVector(n, source, src), e.sideVector(n, destination, dst))
}

// Walk follows all packets between two parties through a chain and tells visit
// of every rule that matches some of them and of every end of a tier, in
// order, and returns what no tier decides. endOfTier is as for
// policy.Chain.Evaluate.
func (e *Evaluator) Walk(c policy.Chain, dir model.Direction, endOfTier bool, src, dst *Party, visit func(Passage)) Space {
	n := e.chain(c, dir)
	return e.t.walk(n, frame{endOfTier: endOfTier}, e.sideVector(n, source, src), e.sideVector(n, destination, dst), visit)
}

// unasked stands for an answer of a side that is not known yet.
const unasked = -1

// Kinds numbers how the rules of a chain see a party on one side (false:
// source, true: destination): parties with equal numbers are treated alike by it.
func (e *Evaluator) Kinds(c policy.Chain, dir model.Direction, dst bool, p *Party) int32 {
	side := source
	if dst {
		side = destination
	}
	return e.sideVector(e.chain(c, dir), side, p)
}
