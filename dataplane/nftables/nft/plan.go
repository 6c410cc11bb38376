package nftables

import (
	"maps"
	"slices"
)

// plan is what turns one ruleset into another. Lists are sorted.
type plan struct {
	remove      bool // the whole table, and no more
	rebuild     bool // throw the whole table away first
	newTable    bool
	addCounters []*counter
	addChains   []*chain
	fillChains  []*chain // chains that are there: flush, then add the rules
	addSets     []*set
	delElems    []elem
	addElems    []elem
	delChains   []string
	delSets     []*set
	delCounters []string
}

// elem is one element of a set.
type elem struct {
	set     *set
	key     string
	verdict string
}

// String names an element for logs and tests: its set, its key as nft writes it, and
// what it leads to.
func (e elem) String() string {
	text := e.set.name + " " + e.set.keyText(e.key)
	switch {
	case e.set.classes:
		return text + " : " + classText(e.verdict)
	case e.verdict != "":
		return text + " : " + e.verdict
	}
	return text
}

func (p *plan) empty() bool {
	return !p.rebuild && !p.newTable && !p.structural() && len(p.delElems)+len(p.addElems) == 0
}

// structural says whether more changes than elements of sets that are there.
func (p *plan) structural() bool {
	return p.rebuild || p.newTable || len(p.addCounters)+len(p.addChains)+len(p.fillChains)+len(p.addSets)+
		len(p.delChains)+len(p.delSets)+len(p.delCounters) > 0
}

// shows reports whether packets see something of a plan.
func (p *plan) shows() bool {
	return p.rebuild || p.newTable || len(p.delElems)+len(p.addElems)+len(p.fillChains) > 0 ||
		slices.ContainsFunc(p.addChains, func(c *chain) bool { return c.hook != nil })
}

// plan returns what has been touched since the last settle and is not as it was.
func (r *ruleset) plan() *plan {
	p := &plan{}
	for _, name := range sortedKeys(r.touchedCounters) {
		old, now := r.touchedCounters[name], r.counters[name]
		switch {
		case old == nil && now != nil:
			p.addCounters = append(p.addCounters, now)
		case old != nil && now == nil:
			p.delCounters = append(p.delCounters, name)
		}
	}
	for _, name := range sortedKeys(r.touchedChains) {
		old, now := r.touchedChains[name], r.chains[name]
		p.chain(name, old, now)
	}
	for _, name := range sortedKeys(r.touchedSets) {
		old, now := r.touchedSets[name], r.sets[name]
		p.set(old, now)
	}
	for _, name := range sortedKeys(r.touchedElems) {
		s := r.sets[name]
		if _, whole := r.touchedSets[name]; whole || s == nil {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(r.touchedElems[name])) {
			old := r.touchedElems[name][key]
			now, is := s.elems[key]
			p.elem(s, key, old, now, is)
		}
	}
	return p
}

func (p *plan) chain(name string, old, now *chain) {
	switch {
	case now == nil && old == nil:
	case now == nil && old.hook != nil: // base chains stay, empty
		p.fillChains = append(p.fillChains, &chain{name: name, hook: old.hook, comment: old.comment})
	case now == nil:
		p.delChains = append(p.delChains, name)
	case old == nil:
		p.addChains = append(p.addChains, now)
	case !slices.Equal(old.rules, now.rules):
		p.fillChains = append(p.fillChains, now)
	}
}

func (p *plan) set(old, now *set) {
	switch {
	case now == nil && old == nil:
	case now == nil:
		p.delSets = append(p.delSets, old)
	case old == nil:
		p.addSets = append(p.addSets, now)
	default: // dropped and added again in one change
		for _, key := range sortedKeys(old.elems) {
			if _, stays := now.elems[key]; !stays {
				p.delElems = append(p.delElems, elem{now, key, old.elems[key]})
			}
		}
		for _, key := range sortedKeys(now.elems) {
			was, ok := old.elems[key]
			var before *string
			if ok {
				before = &was
			}
			p.elem(now, key, before, now.elems[key], true)
		}
	}
}

func (p *plan) elem(s *set, key string, old *string, now string, is bool) {
	if old != nil && (!is || *old != now) {
		p.delElems = append(p.delElems, elem{s, key, *old})
	}
	if is && (old == nil || *old != now) {
		p.addElems = append(p.addElems, elem{s, key, now})
	}
}
