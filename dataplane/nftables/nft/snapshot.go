package nftables

import (
	"slices"
)

// snapshot is what the kernel holds, as far as it matters for what it should hold.
type snapshot struct {
	table   Table
	present bool
	// chains leads to the comments of rules, in order; bases to the hooks of base chains.
	chains   map[string][]string
	bases    map[string]hook
	sets     map[string]*set
	counters map[string]bool
	// broken is true if the table itself is not as it should be.
	broken bool
}

// plan returns what makes the kernel hold a ruleset.
func (s *snapshot) plan(want *ruleset) *plan {
	if s.broken {
		return rebuild(want)
	}
	p := &plan{newTable: !s.present}
	for _, name := range sortedKeys(want.counters) {
		if !s.counters[name] {
			p.addCounters = append(p.addCounters, want.counters[name])
		}
	}
	for _, name := range sortedKeys(s.counters) {
		if want.counters[name] == nil {
			p.delCounters = append(p.delCounters, name)
		}
	}
	for _, name := range sortedKeys(want.chains) {
		c := want.chains[name]
		rules, ok := s.chains[name]
		if ok && !s.sameHook(c) {
			return rebuild(want)
		}
		switch {
		case !ok:
			p.addChains = append(p.addChains, c)
		case !slices.Equal(rules, c.comments()):
			p.fillChains = append(p.fillChains, c)
		}
	}
	for _, name := range sortedKeys(s.chains) {
		if want.chains[name] != nil {
			continue
		}
		if h, ok := s.bases[name]; ok && s.table.base(name) {
			if len(s.chains[name]) > 0 {
				p.fillChains = append(p.fillChains, &chain{name: name, hook: &h})
			}
			continue
		}
		p.delChains = append(p.delChains, name)
	}
	for _, name := range sortedKeys(want.sets) {
		now, old := want.sets[name], s.sets[name]
		switch {
		case old == nil:
			p.addSets = append(p.addSets, now)
		case old.elems == nil:
			return rebuild(want)
		default:
			p.set(old, now)
		}
	}
	for _, name := range sortedKeys(s.sets) {
		if want.sets[name] == nil {
			p.delSets = append(p.delSets, s.sets[name])
		}
	}
	return p
}

func (s *snapshot) sameHook(c *chain) bool {
	h, base := s.bases[c.name]
	return base == (c.hook != nil) && (!base || h == *c.hook)
}

func (c *chain) comments() []string {
	out := make([]string, len(c.rules))
	for i, r := range c.rules {
		out[i] = r.tagged()
	}
	return out
}

// rebuild is the plan that throws the table away and makes it anew, at once.
func rebuild(want *ruleset) *plan {
	p := &plan{rebuild: true}
	for _, name := range sortedKeys(want.counters) {
		p.addCounters = append(p.addCounters, want.counters[name])
	}
	for _, name := range sortedKeys(want.chains) {
		p.addChains = append(p.addChains, want.chains[name])
	}
	for _, name := range sortedKeys(want.sets) {
		p.addSets = append(p.addSets, want.sets[name])
	}
	return p
}
