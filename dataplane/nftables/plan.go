package nftables

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/knftables"
)

// plan is what turns one ruleset into another. Lists are sorted.
type plan struct {
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

func (p *plan) empty() bool {
	return !p.rebuild && !p.newTable && !p.structural() && len(p.delElems)+len(p.addElems) == 0
}

// structural says whether more changes than elements of sets that are there.
func (p *plan) structural() bool {
	return p.rebuild || p.newTable || len(p.addCounters)+len(p.addChains)+len(p.fillChains)+len(p.addSets)+
		len(p.delChains)+len(p.delSets)+len(p.delCounters) > 0
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

// write puts the plan into a transaction. Within one, the kernel wants things
// added before they are referred to and referrers gone before what they refer to.
func (p *plan) write(tx *knftables.Transaction) {
	table := &knftables.Table{Comment: knftables.PtrTo("Tierwall network policy; kept by the Tierwall agent")}
	if p.rebuild {
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
	}
	if p.rebuild || p.newTable {
		tx.Add(table)
	}
	for _, c := range p.addCounters {
		tx.Add(&knftables.Counter{Name: c.name, Comment: comment(c.comment)})
	}
	for _, c := range p.addChains {
		tx.Add(c.object())
	}
	for _, s := range p.addSets {
		tx.Add(s.object())
	}
	for _, e := range p.delElems {
		tx.Delete(e.object())
	}
	for _, s := range p.addSets {
		for _, k := range sortedKeys(s.elems) {
			tx.Add(elem{s, k, s.elems[k]}.object())
		}
	}
	for _, e := range p.addElems {
		tx.Add(e.object())
	}
	for _, c := range p.fillChains {
		tx.Flush(&knftables.Chain{Name: c.name})
	}
	for _, c := range slices.Concat(p.addChains, p.fillChains) {
		for _, r := range c.rules {
			tx.Add(&knftables.Rule{Chain: c.name, Rule: r.text, Comment: knftables.PtrTo(r.tagged())})
		}
	}
	for _, name := range p.delChains {
		tx.Flush(&knftables.Chain{Name: name})
	}
	for _, s := range p.delSets {
		if s.verdicts { // verdicts hold on to their chains until the map is empty
			tx.Flush(&knftables.Map{Name: s.name})
		}
	}
	for _, name := range p.delChains {
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, s := range p.delSets {
		if s.verdicts {
			tx.Delete(&knftables.Map{Name: s.name})
		} else {
			tx.Delete(&knftables.Set{Name: s.name})
		}
	}
	for _, name := range p.delCounters {
		tx.Delete(&knftables.Counter{Name: name})
	}
}

func comment(s string) *string {
	if s == "" {
		return nil
	}
	return knftables.PtrTo(clean(s, 127))
}

func (c *chain) object() *knftables.Chain {
	o := &knftables.Chain{Name: c.name, Comment: comment(c.comment)}
	if c.hook != nil {
		o.Type = knftables.PtrTo(knftables.FilterType)
		o.Hook = knftables.PtrTo(knftables.BaseChainHook(c.hook.name))
		o.Priority = knftables.PtrTo(knftables.BaseChainPriority(strconv.Itoa(c.hook.priority)))
		o.Policy = knftables.PtrTo(knftables.AcceptPolicy)
	}
	return o
}

func (s *set) object() knftables.Object {
	var flags []knftables.SetFlag
	if s.interval {
		flags = []knftables.SetFlag{knftables.IntervalFlag}
	}
	if s.verdicts {
		return &knftables.Map{Name: s.name, Type: s.types + " : verdict", Flags: flags, Comment: comment(s.comment)}
	}
	return &knftables.Set{Name: s.name, Type: s.types, Flags: flags, Comment: comment(s.comment)}
}

func (e elem) object() *knftables.Element {
	o := &knftables.Element{Key: strings.Split(e.key, " . ")}
	if e.set.verdicts {
		o.Map, o.Value = e.set.name, []string{e.verdict}
	} else {
		o.Set = e.set.name
	}
	return o
}

// split takes out of a plan what no packet can see until the rest is carried
// out: new chains, new sets and what is in them, to which nothing that is there
// leads. It returns that, and the elements that netlink can add to it; nil if
// that does not pay: for a new table with fewer than many of them, or where no
// elements change. (nft reads the elements of all sets before it changes some.)
func (p *plan) split(many int) (hidden *plan, elems []elem) {
	n := 0
	for _, s := range p.addSets {
		n += len(s.elems)
	}
	if p.rebuild || p.newTable && n < many || !p.newTable && n+len(p.delElems)+len(p.addElems) == 0 {
		return nil, nil
	}
	hidden = &plan{newTable: p.newTable, addCounters: p.addCounters}
	if len(p.addCounters)+len(p.addChains)+len(p.addSets) == 0 {
		return nil, nil
	}
	p.newTable, p.addCounters = false, nil
	var bases []*chain
	for _, c := range p.addChains {
		if c.hook == nil {
			hidden.addChains = append(hidden.addChains, c)
		} else {
			bases = append(bases, c)
		}
	}
	p.addChains = bases
	for _, s := range p.addSets {
		if s.interval {
			hidden.addSets = append(hidden.addSets, s)
			continue
		}
		empty := *s
		empty.elems = nil
		hidden.addSets = append(hidden.addSets, &empty)
		for _, k := range sortedKeys(s.elems) {
			elems = append(elems, elem{s, k, s.elems[k]})
		}
	}
	p.addSets = nil
	return hidden, elems
}

// onlyMembersShow says whether elements of sets that are there are all that a
// packet can see of what is left of a plan.
func (p *plan) onlyMembersShow() bool {
	return !p.rebuild && !p.newTable && len(p.addCounters)+len(p.addChains)+len(p.fillChains)+len(p.addSets) == 0 &&
		len(p.delElems)+len(p.addElems) > 0
}
