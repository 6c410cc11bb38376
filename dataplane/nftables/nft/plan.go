package nft

import (
	"maps"
	"slices"
)

// plan is what turns one ruleset into another. Lists are sorted.
type Plan struct {
	Remove      bool // the whole table, and no more
	Rebuild     bool // throw the whole table away first
	NewTable    bool
	AddCounters []*Counter
	AddChains   []*Chain
	FillChains  []*Chain // chains that are there: flush, then add the rules
	AddSets     []*Set
	DelElems    []Elem
	AddElems    []Elem
	DelChains   []string
	DelSets     []*Set
	DelCounters []string
}

// elem is one element of a set.
type Elem struct {
	Set     *Set
	Key     string
	Verdict string
}

// String names an element for logs and tests: its set, its key as nft writes it, and
// what it leads to.
func (e Elem) String() string {
	text := e.Set.Name + " " + e.Set.keyText(e.Key)
	switch {
	case e.Set.Classes:
		return text + " : " + classText(e.Verdict)
	case e.Verdict != "":
		return text + " : " + e.Verdict
	}
	return text
}

func (p *Plan) Empty() bool {
	return !p.Rebuild && !p.NewTable && !p.Structural() && len(p.DelElems)+len(p.AddElems) == 0
}

// structural says whether more changes than elements of sets that are there.
func (p *Plan) Structural() bool {
	return p.Rebuild || p.NewTable || len(p.AddCounters)+len(p.AddChains)+len(p.FillChains)+len(p.AddSets)+
		len(p.DelChains)+len(p.DelSets)+len(p.DelCounters) > 0
}

// shows reports whether packets see something of a plan.
func (p *Plan) Shows() bool {
	return p.Rebuild || p.NewTable || len(p.DelElems)+len(p.AddElems)+len(p.FillChains) > 0 ||
		slices.ContainsFunc(p.AddChains, func(c *Chain) bool { return c.Hook != nil })
}

// plan returns what has been touched since the last settle and is not as it was.
func (r *Ruleset) Plan() *Plan {
	p := &Plan{}
	for _, name := range sortedKeys(r.touchedCounters) {
		old, now := r.touchedCounters[name], r.Counters[name]
		switch {
		case old == nil && now != nil:
			p.AddCounters = append(p.AddCounters, now)
		case old != nil && now == nil:
			p.DelCounters = append(p.DelCounters, name)
		}
	}
	for _, name := range sortedKeys(r.touchedChains) {
		old, now := r.touchedChains[name], r.Chains[name]
		p.chain(name, old, now)
	}
	for _, name := range sortedKeys(r.touchedSets) {
		old, now := r.touchedSets[name], r.Sets[name]
		p.set(old, now)
	}
	for _, name := range sortedKeys(r.touchedElems) {
		s := r.Sets[name]
		if _, whole := r.touchedSets[name]; whole || s == nil {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(r.touchedElems[name])) {
			old := r.touchedElems[name][key]
			now, is := s.Elems[key]
			p.elem(s, key, old, now, is)
		}
	}
	return p
}

func (p *Plan) chain(name string, old, now *Chain) {
	switch {
	case now == nil && old == nil:
	case now == nil && old.Hook != nil: // base chains stay, empty
		p.FillChains = append(p.FillChains, &Chain{Name: name, Hook: old.Hook, Comment: old.Comment})
	case now == nil:
		p.DelChains = append(p.DelChains, name)
	case old == nil:
		p.AddChains = append(p.AddChains, now)
	case !slices.Equal(old.Rules, now.Rules):
		p.FillChains = append(p.FillChains, now)
	}
}

func (p *Plan) set(old, now *Set) {
	switch {
	case now == nil && old == nil:
	case now == nil:
		p.DelSets = append(p.DelSets, old)
	case old == nil:
		p.AddSets = append(p.AddSets, now)
	default: // dropped and added again in one change
		for _, key := range sortedKeys(old.Elems) {
			if _, stays := now.Elems[key]; !stays {
				p.DelElems = append(p.DelElems, Elem{now, key, old.Elems[key]})
			}
		}
		for _, key := range sortedKeys(now.Elems) {
			was, ok := old.Elems[key]
			var before *string
			if ok {
				before = &was
			}
			p.elem(now, key, before, now.Elems[key], true)
		}
	}
}

func (p *Plan) elem(s *Set, key string, old *string, now string, is bool) {
	if old != nil && (!is || *old != now) {
		p.DelElems = append(p.DelElems, Elem{s, key, *old})
	}
	if is && (old == nil || *old != now) {
		p.AddElems = append(p.AddElems, Elem{s, key, now})
	}
}
