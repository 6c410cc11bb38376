package iptables

import (
	"reflect"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
)

// effect is what it means for packets that a member enters a set: whether fewer
// pass than before, or more. To leave it means the reverse. A set may be changed
// under the rules that ask for it if that is known: what closes first, what
// opens last, and at each moment no packet passes that would pass neither by the
// old state nor by the new one.
type effect uint8

const (
	// neutral: no rule's verdict hangs on it.
	neutral effect = iota
	// opens: some packets pass that did not, none is stopped.
	opens
	// closes: some packets are stopped that were not, none passes that did not.
	closes
	// mixed: both, or it is not known.
	mixed
)

// with is the effect of a set that has both.
func (e effect) with(o effect) effect {
	switch {
	case e == neutral || e == o:
		return o
	case o == neutral:
		return e
	}
	return mixed
}

// turned is the effect where rules ask for packets that are not in the set.
func (e effect) turned() effect {
	switch e {
	case opens:
		return closes
	case closes:
		return opens
	}
	return e
}

// effectOf is what it does that more packets match a rule that says so.
func effectOf(v dataplane.Verdict) effect {
	switch v {
	case dataplane.Continue:
		return neutral
	case dataplane.Accept:
		return opens
	case dataplane.Drop:
		return closes
	}
	return mixed
}

// note remembers what a set means to rules.
func (g *sink) note(key string, e effect, not bool) {
	if not {
		e = e.turned()
	}
	g.rs.effects[key] = g.rs.effects[key].with(e)
}

// effectOfRest is what it means for an address to lead to a rest instead of to
// any of others, where the tier ends so. It is opens or mixed, never closes: an
// address that goes from one rest to another leaves the first before it enters
// the second, and is at the others meanwhile.
func effectOfRest(r *dataplane.Rest, others []*dataplane.Rest, end *dataplane.Leaf) effect {
	for _, o := range others {
		if !opener(r, o, end) {
			return mixed
		}
	}
	return opens
}

// opener says whether a rest lets pass, for sure, all that another one does.
func opener(r, other *dataplane.Rest, end *dataplane.Leaf) bool {
	none := len(other.Rules) == 0 && other.Ports == nil
	if none && end.Verdict == dataplane.Drop {
		return true // nothing can let pass less
	}
	if other.Ports != nil {
		return r.ID == other.ID
	}
	if r.Ports != nil {
		return none && !slices.ContainsFunc(r.Ports.Entries, func(e dataplane.PortEntry) bool { return e.Leaf.Verdict == dataplane.Drop }) &&
			r.Ports.Other.Verdict != dataplane.Drop
	}
	// The other's rules, in their order, and between them such as let pass.
	rest := other.Rules
	for i := range r.Rules {
		switch v := r.Rules[i].Leaf.Verdict; {
		case len(rest) > 0 && reflect.DeepEqual(r.Rules[i], rest[0]):
			rest = rest[1:]
		case v != dataplane.Accept && v != dataplane.Continue:
			return false
		}
	}
	return len(rest) == 0
}
