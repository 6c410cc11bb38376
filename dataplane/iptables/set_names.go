package iptables

import (
	"slices"
)

// Names of sets. One that cannot be changed in place is made anew beside the old one, under the next free name.

// nameAmong is a namer for a kernel that holds some sets: one that is right is
// taken over, one that is not stays until no rule asks for it.
func nameAmong(sets map[string]*ipset) namer {
	versions := map[string][]*ipset{}
	for _, name := range sortedKeys(sets) {
		key, _ := keyOf(name)
		versions[key] = append(versions[key], sets[name])
	}
	return func(s *ipset) string {
		for _, old := range versions[s.key] {
			if sameSet(old, s) {
				return old.name
			}
		}
		return freeName(s.key, func(name string) bool { return sets[name] != nil })
	}
}

// freeName is the first name for a set that is not taken.
func freeName(key string, taken func(string) bool) string {
	for v := 0; ; v++ {
		if name := versionName(key, v); !taken(name) {
			return name
		}
	}
}

// sameSet reports whether a set of the kernel's is the one that is wanted. Sets of ports
// have no family in the kernel: what is listed of one says nothing about it.
func sameSet(a, b *ipset) bool {
	return a.kind == b.kind && (a.family == b.family || a.kind == typeHold) && (timed(a.kind) > 0 || slices.Equal(a.elems, b.elems))
}

// namer leaves the sets that are there their names, but for those that are to be
// made anew.
func (b *Backend) namer(renew map[string]bool) namer {
	return func(s *ipset) string {
		old := b.have.sets[s.key]
		if old != nil && !renew[s.key] {
			return old.name
		}
		return freeName(s.key, func(name string) bool { return b.litter[name] || old != nil && old.name == name })
	}
}
