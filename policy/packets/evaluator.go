package packets

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Evaluator evaluates an Index for whole spaces. It reads the Index as of its last
// Flush and caches results: create a new one after a change. Not safe for concurrent
// use.
type Evaluator struct {
	ix *index.Index
	t  *Table

	chains map[chainSlice]*chain
	empty  [2]*chain // by direction
	halves map[policyHalf]*half
	rules  map[int32][]index.Rule // of halves, with the sets of this Index
	alike  *lookalikes            // nil before load
	// chainsOf are the numbers of the chains of effective policies, as Role appends them.
	chainsOf map[*index.Effective][]byte
	triples  map[*index.Set]*triples
	outside  []External // nil before Outside
	parties  map[netip.Addr]*Party
	// guarded are the nodes with host endpoints that have policies for forwarded
	// traffic.
	guarded     map[string]bool
	surrounding *verdict.Surroundings
	settings    *model.Settings
	views       []view         // a buffer
	stops       []verdict.Stop // a buffer
}

// policyHalf is one direction of a policy.
type policyHalf struct {
	p   *index.Policy
	dir model.Direction
}

type chainSlice struct {
	first *index.TierChain
	len   int
	dir   model.Direction
}

// NewEvaluator returns an Evaluator with results of its own.
func NewEvaluator(ix *index.Index) *Evaluator { return newTable().Evaluator(ix) }

// Evaluator returns an Evaluator that shares the table's results.
func (t *Table) Evaluator(ix *index.Index) *Evaluator {
	e := &Evaluator{
		ix: ix, t: t,
		chains: map[chainSlice]*chain{}, halves: map[policyHalf]*half{}, rules: map[int32][]index.Rule{},
		chainsOf: map[*index.Effective][]byte{}, triples: map[*index.Set]*triples{}, parties: map[netip.Addr]*Party{},
		guarded: map[string]bool{}, surrounding: verdict.NewSurroundings(ix), settings: ix.Settings(),
	}
	if e.settings == nil {
		e.settings = model.DefaultSettings()
	}
	for _, r := range ix.Endpoints() {
		if r.Kind != model.KindHostEndpoint {
			continue
		}
		if h, ok := ix.Endpoint(r); ok && passes(ix.Effective(r)) {
			e.guarded[h.Node] = true
		}
	}
	return e
}

// Beside returns an Evaluator of another Index that shares what this one knows.
func (e *Evaluator) Beside(ix *index.Index) *Evaluator { return e.t.Evaluator(ix) }

// Index is the Index that is evaluated.
func (e *Evaluator) Index() *index.Index { return e.ix }

// chain numbers a chain of this Index.
func (e *Evaluator) chain(c index.Chain, dir model.Direction) *chain {
	if len(c) == 0 {
		if e.empty[dir] == nil {
			e.empty[dir] = e.t.chain(nil, dir, e.half)
		}
		return e.empty[dir]
	}
	k := chainSlice{&c[0], len(c), dir}
	if n, ok := e.chains[k]; ok {
		return n
	}
	n := e.t.chain(c, dir, e.half)
	e.chains[k] = n
	return n
}

// half numbers one direction of a policy of this Index.
func (e *Evaluator) half(p *index.Policy, dir model.Direction) *half {
	k := policyHalf{p, dir}
	h, ok := e.halves[k]
	if ok {
		return h
	}
	h = e.t.half(p, dir)
	e.halves[k] = h
	if _, known := e.rules[h.id]; known {
		return h
	}
	e.rules[h.id] = p.Resolved(dir)
	if e.alike != nil {
		// A policy of no endpoint: its rules may distinguish what is alike to all
		// others.
		e.alike = nil
		for _, x := range e.parties {
			x.sight = nil
		}
	}
	return h
}

// sideView numbers how the policies of a chain see an address on one side.
func (e *Evaluator) sideView(c *chain, side int, p *Party) int32 {
	seen := e.seen(p)
	if id, ok := seen.ofChain[side].get(c.id); ok {
		return id
	}
	v := e.views[:0]
	for pos, h := range c.halves {
		if h.indifferent[side] {
			continue
		}
		if vector := e.halfVector(h, side, seen); vector != noRule {
			v = append(v, view{int32(pos), vector})
		}
	}
	e.views = v
	id := e.t.view(v)
	seen.ofChain[side].set(c.id, id)
	return id
}

func (e *Evaluator) halfVector(h *half, side int, s *sight) int32 {
	if h.indifferent[side] {
		return h.fixed[side]
	}
	if id, ok := s.ofHalf[side].get(h.id); ok {
		return id
	}
	rules := e.rules[h.id]
	v := make([]int32, len(rules))
	for i := range rules {
		n := h.sides[side][i]
		id, ok := s.ofSide.get(n)
		if !ok {
			id = e.side(&rules[i], side, s.addr)
			s.ofSide.set(n, id)
		}
		v[i] = id
	}
	id := e.t.vector(v)
	s.ofHalf[side].set(h.id, id)
	return id
}

// evaluate evaluates one chain for all packets between two parties.
func (e *Evaluator) evaluate(c index.StageChain, src, dst *Party) *Outcome {
	n := e.chain(c.Chain, c.Direction)
	return e.t.result(n, e.t.frame(frame{c.Stage, c.EndOfTier, c.Default}), e.sideView(n, source, src), e.sideView(n, destination, dst))
}

// Walk follows all packets between two parties through a chain. It calls visit for
// every rule that matches some of them and for every end of a tier, in order, and
// returns what no tier decides. endOfTier is as for verdict.Evaluate.
func (e *Evaluator) Walk(c index.Chain, dir model.Direction, endOfTier bool, src, dst *Party, visit func(Passage)) Space {
	n := e.chain(c, dir)
	return e.t.walk(n, frame{endOfTier: endOfTier}, e.sideView(n, source, src), e.sideView(n, destination, dst), visit)
}

// answers caches numbers by small numbers.
type answers []int32

func (a answers) get(i int32) (int32, bool) {
	if int(i) >= len(a) || a[i] < 0 {
		return 0, false
	}
	return a[i], true
}

func (a *answers) set(i, v int32) {
	if n := int(i) + 1 - len(*a); n > 0 {
		grown := slices.Grow(*a, n)
		for range n {
			grown = append(grown, -1)
		}
		*a = grown
	}
	(*a)[i] = v
}

// View numbers how the rules of a chain see a party on one side (false: source, true:
// destination): the chain treats parties with equal numbers alike.
func (e *Evaluator) View(c index.Chain, dir model.Direction, dst bool, p *Party) int32 {
	side := source
	if dst {
		side = destination
	}
	return e.sideView(e.chain(c, dir), side, p)
}

// Number numbers a chain: chains with equal contents have equal numbers.
func (e *Evaluator) Number(c index.Chain, dir model.Direction) int32 { return e.chain(c, dir).id }
