package diff

import (
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// change is what is equal for all pairs of one Change, except the space.
type change struct {
	kind          Kind
	before, after sides
}

// sides are the verdicts that decide a connection in each direction, as far as they are
// shown.
type sides struct {
	action          model.Action
	egress, ingress model.Verdict
}

// delta is a change of a part of the traffic between two atoms.
type delta struct {
	change
	space packets.Space
}

type fates struct{ a, b *packets.Fate }

type deltaKey struct {
	fates
	family uint8
	// opens is the number of the receiver's doors: what is sent there, it does not
	// receive itself.
	opens int
}

// differ compares pairs and caches the results, because few pairs of fates are
// distinct.
type differ struct {
	*worlds
	opts   Options
	deltas map[deltaKey][]delta
}

// compare returns what differs for one pair of atoms.
func (d *differ) compare(e example) []delta {
	f, t := e.from, e.to
	var k deltaKey
	k.family, k.opens = f.family, t.opens
	if f.a != nil && t.a != nil {
		k.a = d.a.Fate(f.a, t.a)
	}
	if f.b != nil && t.b != nil {
		k.b = d.b.Fate(f.b, t.b)
	}
	if k.a == k.b {
		return nil
	}
	if got, ok := d.deltas[k]; ok {
		return got
	}
	var out []delta
	switch {
	case k.a == nil:
		out = d.only(Added, k.b, k)
	case k.b == nil:
		out = d.only(Removed, k.a, k)
	default:
		out = d.both(k)
	}
	d.deltas[k] = out
	return out
}

// only is the traffic that is allowed in the only world that has both ends.
func (d *differ) only(kind Kind, f *packets.Fate, k deltaKey) []delta {
	var s packets.Space
	for i := range f.Courses {
		if c := &f.Courses[i]; c.Action == model.Allow {
			s = s.Union(c.Space)
		}
	}
	if s = s.Intersect(d.universe(k)); s.IsEmpty() {
		return nil
	}
	return []delta{{change{kind: kind}, s}}
}

// universe is all that a receiver can get itself.
func (d *differ) universe(k deltaKey) packets.Space {
	return packets.Family(k.family).Subtract(d.opens[k.opens].space)
}

func (d *differ) both(k deltaKey) []delta {
	var out []delta
	universe := d.universe(k)
	for i := range k.a.Courses {
		for j := range k.b.Courses {
			a, b := &k.a.Courses[i], &k.b.Courses[j]
			c, ok := d.changeOf(a, b)
			if !ok {
				continue
			}
			s := a.Space.Intersect(b.Space).Intersect(universe)
			if s.IsEmpty() {
				continue
			}
			out = add(out, delta{c, s})
		}
	}
	return out
}

// add merges a delta with one of the same change.
func add(to []delta, d delta) []delta {
	for i := range to {
		if to[i].change == d.change {
			to[i].space = to[i].space.Union(d.space)
			return to
		}
	}
	return append(to, d)
}

// changeOf determines the change for packets that take one course before and another
// after.
func (d *differ) changeOf(a, b *packets.Course) (change, bool) {
	switch {
	case a.Action == b.Action && !d.opts.Decisions:
		return change{}, false
	case a.Action == b.Action:
		c := change{kind: Redecided, before: bothSides(a), after: bothSides(b)}
		if a.Action == model.Deny {
			c.before, c.after = deniedBy(a), deniedBy(b)
		}
		return c, c.before != c.after
	case a.Action == model.Allow:
		after := deniedBy(b)
		return change{Lost, allowedIn(a, after), after}, true
	default:
		before := deniedBy(a)
		return change{Gained, before, allowedIn(b, before)}, true
	}
}

// deniedBy shows the denial only.
func deniedBy(c *packets.Course) sides {
	s := sides{action: model.Deny}
	if v, ok := c.Deciding(model.Egress); ok && v.Action == model.Deny {
		s.egress = v
	} else {
		s.ingress, _ = c.Deciding(model.Ingress)
	}
	return s
}

// allowedIn shows what allows in the direction in which the other world denies, because
// the other direction has not changed the result. If nothing is decided there, it shows
// what there is.
func allowedIn(c *packets.Course, denied sides) sides {
	s := bothSides(c)
	if denied.egress != (model.Verdict{}) && s.egress != (model.Verdict{}) {
		s.ingress = model.Verdict{}
	} else if denied.ingress != (model.Verdict{}) && s.ingress != (model.Verdict{}) {
		s.egress = model.Verdict{}
	}
	return s
}

func bothSides(c *packets.Course) sides {
	s := sides{action: c.Action}
	s.egress, _ = c.Deciding(model.Egress)
	s.ingress, _ = c.Deciding(model.Ingress)
	return s
}
