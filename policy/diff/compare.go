package diff

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Compare reports how connectivity changes from world a to world b. Both are read as of
// their last Flush, and all their endpoints must be local.
func Compare(a, b *index.Index, o Options) *Report {
	d := &differ{worlds: newWorlds(a, b, o), opts: o, deltas: map[deltaKey][]delta{}}
	classes := d.classes()
	byChange := grouping{groups: map[string]*group{}, families: map[uint8][]*class{}}
	for _, c := range classes {
		byChange.families[c.family()] = append(byChange.families[c.family()], c)
	}
	for _, family := range []uint8{4, 6} {
		list := byChange.families[family]
		for i, from := range list {
			for j, to := range list {
				if from.clean && to.clean {
					continue
				}
				d.pair(&byChange, family, i, j, from, to)
			}
		}
	}
	r := &Report{Changes: []Change{}}
	names := newNames(d.worlds, o)
	for _, c := range slices.Concat(byChange.changes(names), d.itself(names), d.services(names, classes), d.nodePorts(names, classes)) {
		if c.Kind == Added || c.Kind == Removed {
			r.Apart = append(r.Apart, c)
		} else {
			r.Changes = append(r.Changes, c)
		}
	}
	slices.SortFunc(r.Changes, compareChanges)
	slices.SortFunc(r.Apart, compareChanges)
	r.Added = d.presences(func(x *atom) bool { return x.a == nil })
	r.Removed = d.presences(func(x *atom) bool { return x.b == nil })
	r.Guards = guardChanges(a, b)
	r.Summary = d.summary(r)
	return r
}

// pair records the differences between two classes under their changes.
func (d *differ) pair(to *grouping, family uint8, i, j int, from, dest *class) {
	exs := examples(from, dest)
	var found []delta
	var where []relationSet
	for _, ex := range exs {
		for _, x := range d.compare(ex) {
			// The same change and space in several relations are merged.
			k := slices.IndexFunc(found, func(y delta) bool { return y.change == x.change && y.space.Equal(x.space) })
			if k < 0 {
				k = len(found)
				found = append(found, x)
				where = append(where, 0)
			}
			where[k] |= 1 << ex.relation
		}
	}
	var every relationSet
	for _, ex := range exs {
		every |= 1 << ex.relation
	}
	for k := range found {
		if where[k] == every {
			where[k] = 0
		}
		to.add(found[k], where[k], family, i, j)
	}
}

func (d *differ) presences(missing func(*atom) bool) []Presence {
	var out []Presence
	for i := range d.atoms {
		x := &d.atoms[i]
		if !missing(x) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Endpoint == x.who {
			out[n-1].Addresses = append(out[n-1].Addresses, x.addr())
		} else {
			out = append(out, Presence{x.who, []netip.Addr{x.addr()}})
		}
	}
	slices.SortStableFunc(out, func(a, b Presence) int { return a.Endpoint.Compare(b.Endpoint) })
	var joined []Presence
	for _, p := range out {
		if n := len(joined); n > 0 && joined[n-1].Endpoint == p.Endpoint {
			joined[n-1].Addresses = append(joined[n-1].Addresses, p.Addresses...)
		} else {
			joined = append(joined, p)
		}
	}
	return joined
}

func (d *differ) summary(r *Report) Summary {
	s := Summary{Added: len(r.Added), Removed: len(r.Removed), OutsideGroups: len(d.groups)}
	for _, c := range r.Changes {
		switch c.Kind {
		case Lost:
			s.Lost++
		case Gained:
			s.Gained++
		case Redecided:
			s.Redecided++
		}
	}
	for _, g := range r.Guards {
		if g.NotCompared != "" {
			s.NotCompared++
		}
	}
	seen := map[model.Ref]bool{}
	for i := range d.atoms {
		if x := &d.atoms[i]; x.group < 0 && !seen[x.who] {
			seen[x.who] = true
			s.Endpoints++
		}
	}
	return s
}
