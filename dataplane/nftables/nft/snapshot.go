package nft

import (
	"slices"
)

// snapshot is what the kernel holds, as far as it matters for what it should hold.
type Snapshot struct {
	table   Table
	present bool
	// chains leads to the comments of rules, in order; bases to the hooks of base chains.
	chains   map[string][]string
	bases    map[string]Hook
	sets     map[string]*Set
	counters map[string]bool
	// broken is true if the table itself is not as it should be.
	broken bool
}

// plan returns what makes the kernel hold a ruleset.
func (s *Snapshot) Plan(want *Ruleset) *Plan {
	if s.broken {
		return Rebuild(want)
	}
	p := &Plan{NewTable: !s.present}
	for _, name := range sortedKeys(want.Counters) {
		if !s.counters[name] {
			p.AddCounters = append(p.AddCounters, want.Counters[name])
		}
	}
	for _, name := range sortedKeys(s.counters) {
		if want.Counters[name] == nil {
			p.DelCounters = append(p.DelCounters, name)
		}
	}
	for _, name := range sortedKeys(want.Chains) {
		c := want.Chains[name]
		rules, ok := s.chains[name]
		if ok && !s.sameHook(c) {
			return Rebuild(want)
		}
		switch {
		case !ok:
			p.AddChains = append(p.AddChains, c)
		case !slices.Equal(rules, c.comments()):
			p.FillChains = append(p.FillChains, c)
		}
	}
	for _, name := range sortedKeys(s.chains) {
		if want.Chains[name] != nil {
			continue
		}
		if h, ok := s.bases[name]; ok && s.table.base(name) {
			if len(s.chains[name]) > 0 {
				p.FillChains = append(p.FillChains, &Chain{Name: name, Hook: &h})
			}
			continue
		}
		p.DelChains = append(p.DelChains, name)
	}
	for _, name := range sortedKeys(want.Sets) {
		now, old := want.Sets[name], s.sets[name]
		switch {
		case old == nil:
			p.AddSets = append(p.AddSets, now)
		case old.Elems == nil:
			return Rebuild(want)
		default:
			p.set(old, now)
		}
	}
	for _, name := range sortedKeys(s.sets) {
		if want.Sets[name] == nil {
			p.DelSets = append(p.DelSets, s.sets[name])
		}
	}
	return p
}

func (s *Snapshot) sameHook(c *Chain) bool {
	h, base := s.bases[c.Name]
	return base == (c.Hook != nil) && (!base || h == *c.Hook)
}

func (c *Chain) comments() []string {
	out := make([]string, len(c.Rules))
	for i, r := range c.Rules {
		out[i] = r.tagged()
	}
	return out
}

// rebuild is the plan that throws the table away and makes it anew, at once.
func Rebuild(want *Ruleset) *Plan {
	p := &Plan{Rebuild: true}
	for _, name := range sortedKeys(want.Counters) {
		p.AddCounters = append(p.AddCounters, want.Counters[name])
	}
	for _, name := range sortedKeys(want.Chains) {
		p.AddChains = append(p.AddChains, want.Chains[name])
	}
	for _, name := range sortedKeys(want.Sets) {
		p.AddSets = append(p.AddSets, want.Sets[name])
	}
	return p
}
