package diff

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// members are atoms by index, sorted.
type members []int

func membersOf(list []int, classes []*class) members {
	var out members
	for _, c := range list {
		for _, x := range classes[c].atoms {
			out = append(out, x.index)
		}
	}
	slices.Sort(out)
	return out
}

func (m members) join(o members) members {
	out := append(slices.Clone(m), o...)
	slices.Sort(out)
	return slices.Compact(out)
}

func (m members) has(i int) bool {
	_, ok := slices.BinarySearch(m, i)
	return ok
}

// endpoints are the named endpoints among the members.
func (w *worlds) endpoints(m members) []model.Ref {
	ranks := make([]int, 0, len(m))
	for _, i := range m {
		if x := &w.atoms[i]; x.group < 0 {
			ranks = append(ranks, x.rank)
		}
	}
	slices.Sort(ranks)
	ranks = slices.Compact(ranks)
	if len(ranks) == 0 {
		return nil
	}
	out := make([]model.Ref, len(ranks))
	for i, r := range ranks {
		out[i] = w.whos[r]
	}
	return out
}

// hasFamily records which endpoints have addresses of a family.
type hasFamily map[model.Ref][2]bool

func slot(family uint8) int {
	if family == 4 {
		return 0
	}
	return 1
}

func (w *worlds) families() hasFamily {
	out := hasFamily{}
	for i := range w.atoms {
		if x := &w.atoms[i]; x.group < 0 {
			v := out[x.who]
			v[slot(x.family)] = true
			out[x.who] = v
		}
	}
	return out
}

// sameMembers reports whether members of IPv4 and members of IPv6 are the same
// endpoints, except for those that lack the other family.
func (n *names) sameMembers(four, six members) bool {
	a, b := n.endpoints(four), n.endpoints(six)
	if (len(a) == 0) != (len(b) == 0) {
		return false
	}
	shared := false
	lacks := func(list, other []model.Ref, family uint8) bool {
		for _, r := range list {
			_, found := slices.BinarySearchFunc(other, r, model.Ref.Compare)
			if found {
				shared = true
			} else if n.has[r][slot(family)] {
				return false
			}
		}
		return true
	}
	return lacks(a, b, 6) && lacks(b, a, 4) && (shared || len(a) == 0)
}

// hasOther reports whether any of the members has addresses of the other family.
func (n *names) hasOther(m members, family uint8) bool {
	for _, i := range m {
		x := &n.atoms[i]
		if x.group >= 0 || n.has[x.who][1-slot(family)] {
			return true
		}
	}
	return false
}
