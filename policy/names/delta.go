package names

import (
	"maps"
	"net/netip"
	"slices"
)

// Delta is by what the addresses of a pattern have changed.
type Delta struct {
	Pattern Pattern
	// Added and Removed are sorted, and have no address in common.
	Added, Removed []netip.Addr
}

// Deltas returns what has changed since it was called last, sorted by pattern. The sum
// of all deltas of a pattern is what Members returns; of one that is no longer in use
// nothing remains.
func (t *Table) Deltas() []Delta {
	var out []Delta
	for p := range t.changed {
		if len(p.pending) == 0 {
			continue
		}
		d := Delta{Pattern: p.Pattern}
		for _, a := range slices.SortedFunc(maps.Keys(p.pending), netip.Addr.Compare) {
			if p.pending[a] {
				d.Added = append(d.Added, a)
			} else {
				d.Removed = append(d.Removed, a)
			}
		}
		out = append(out, d)
		p.pending = nil
	}
	clear(t.changed)
	t.gone = 0
	slices.SortFunc(out, func(a, b Delta) int { return comparePatterns(a.Pattern, b.Pattern) })
	return out
}

// Additions is Deltas without the addresses that have gone: those are left for the next
// call of Deltas. An address that goes and comes back meanwhile is in neither.
func (t *Table) Additions() []Delta {
	var out []Delta
	for p := range t.changed {
		d := Delta{Pattern: p.Pattern}
		for a, came := range p.pending {
			if came {
				d.Added = append(d.Added, a)
			}
		}
		for _, a := range d.Added {
			delete(p.pending, a)
		}
		if len(p.pending) == 0 {
			p.pending = nil
			delete(t.changed, p)
		}
		if len(d.Added) > 0 {
			slices.SortFunc(d.Added, netip.Addr.Compare)
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Delta) int { return comparePatterns(a.Pattern, b.Pattern) })
	return out
}

// Gone is how many addresses the next Deltas will say have gone, each as often as it is of a pattern.
func (t *Table) Gone() int { return t.gone }

// gain counts one more name of a pattern that brings an address.
func (t *Table) gain(p *pattern, k key) {
	if p.wild {
		p.counts[k]++
		if p.counts[k] > 1 {
			return
		}
	}
	t.note(p, k.addr(), true)
}

// lose counts one name less.
func (t *Table) lose(p *pattern, k key) {
	if p.wild {
		if n := p.counts[k]; n > 1 {
			p.counts[k] = n - 1
			return
		}
		delete(p.counts, k)
	}
	t.note(p, k.addr(), false)
}

// note keeps what has happened to an address, unless it undoes what has happened before.
func (t *Table) note(p *pattern, a netip.Addr, came bool) {
	if before, ok := p.pending[a]; ok {
		delete(p.pending, a)
		if !before {
			t.gone--
		}
		return
	}
	if p.pending == nil {
		p.pending = map[netip.Addr]bool{}
	}
	p.pending[a] = came
	if !came {
		t.gone++
	}
	t.changed[p] = struct{}{}
}

// Members returns the addresses of a pattern in use, sorted.
func (t *Table) Members(p Pattern) []netip.Addr {
	u := t.patterns[p]
	if u == nil {
		return nil
	}
	var out []netip.Addr
	if e := t.names[p.text]; !u.wild && e != nil {
		for _, r := range e.records {
			out = append(out, r.key.addr())
		}
	}
	for k := range u.counts {
		out = append(out, k.addr())
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
