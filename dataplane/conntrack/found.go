package conntrack

import (
	"context"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Found is a sweep in two halves, for those who cannot wait for a long table to
// be listed: [Find] asks no policy, and Sweep lists nothing.
type Found struct {
	entries []*Entry
	// masters are the connections that a helper expected some of the entries of;
	// nil ones are gone.
	masters map[Tuple]*Entry
	// lost: the masters could not all be listed.
	lost bool
	// err is why entries may be missing.
	err error
}

// Find lists the connections of the changed addresses, as [Sweep] does. It keeps
// them in memory, some 300 bytes each: for a sweep of all addresses,
// [SweepEntries] is better. Safe for concurrent use with nothing else of the Table.
func Find(ctx context.Context, t Table, changed func(netip.Addr) bool) *Found {
	f := &Found{masters: map[Tuple]*Entry{}}
	f.err = t.List(ctx, func(e *Entry) bool {
		if changed == nil || e.Touches(changed) {
			f.entries = append(f.entries, e)
			if e.Related() {
				f.masters[e.Master] = nil
			}
		}
		return ctx.Err() == nil
	})
	if len(f.masters) == 0 {
		return f
	}
	err := t.List(ctx, func(e *Entry) bool {
		if _, wanted := f.masters[e.Original]; wanted {
			f.masters[e.Original] = e
		}
		return ctx.Err() == nil
	})
	if err != nil {
		f.lost = true
		if f.err == nil {
			f.err = err
		}
	}
	return f
}

// Sweep deletes what decide does not allow of what was found, and returns the
// number. What Find could not list is an error, and does not end the sweep.
func (f *Found) Sweep(ctx context.Context, t Table, decide func(*Entry) model.Action) (deleted int, err error) {
	var denied []*Entry
	for _, e := range f.entries {
		if decide(e) != model.Deny {
			continue
		}
		if e.Related() {
			m := f.masters[e.Master]
			if f.lost || m != nil && decide(m) != model.Deny {
				continue
			}
		}
		denied = append(denied, e)
	}
	return remove(ctx, t, denied, f.err)
}
