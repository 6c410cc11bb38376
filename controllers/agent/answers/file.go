package answers

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/tierwall/tierwall/controllers/agent/learnt"
	"github.com/tierwall/tierwall/policy/names"
)

// saveAgain is how often a name is written whose answers bring nothing new: the file
// lags behind by as much, so after a restart the name's addresses expire earlier.
const saveAgain = 30 * time.Second

// load reads the file. What it holds is restored when a pattern asks for it.
func (k *Keeper) load() {
	take := func(n names.Known) {
		list := k.restored[n.Name]
		if i := slices.IndexFunc(list, func(o names.Known) bool { return o.Addr == n.Addr }); i >= 0 {
			list[i] = n
		} else {
			k.restored[n.Name] = append(list, n)
		}
	}
	for _, n := range k.opts.Known {
		take(n)
	}
	if k.opts.File == nil {
		return
	}
	found, err := k.opts.File.Load(take)
	switch {
	case err != nil:
		k.log.Error("cannot read the file of names: no name is known from before", "error", err)
		clear(k.restored)
	case found.Damaged > 0:
		k.log.Warn("the end of the file of names is damaged and ignored", "bytes", found.Damaged, "addresses", found.Addresses)
	}
}

// restore takes in what the file holds for a pattern.
func (k *Keeper) restore(p names.Pattern, now time.Time) {
	take := func(name string) {
		for _, n := range k.restored[name] {
			k.table.Restore(n, now)
		}
	}
	if !p.Wildcard() {
		take(p.String())
		return
	}
	for name := range k.restored {
		if p.Matches(name) {
			take(name)
		}
	}
}

// save writes what has been learnt to the file.
func (k *Keeper) save() {
	if k.opts.File == nil {
		return
	}
	k.mu.Lock()
	now := k.clock.Now()
	if now.Sub(k.saveSeen) >= saveAgain || k.stopped {
		for name := range k.seen {
			k.unsaved[name] = struct{}{}
		}
		clear(k.seen)
		k.saveSeen = now
	}
	var list []names.Known
	for name := range k.unsaved {
		list = append(list, k.table.Known(name)...)
	}
	clear(k.unsaved)
	k.mu.Unlock()
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, compareKnown)
	err := k.opts.File.Append(list)
	if errors.Is(err, learnt.ErrFull) || err == nil && k.opts.File.Long() {
		_, err = k.opts.File.Compact(k.all())
	}
	if err != nil {
		k.metrics.unsaved.Inc()
		k.log.Error("cannot save names: after a restart they are unknown", "error", err, "addresses", len(list))
	}
}

// compareKnown compares by name, then by address.
func compareKnown(a, b names.Known) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr))
}

// all is what is known, and what was restored and no pattern has asked for yet.
func (k *Keeper) all() []names.Known {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.table.Names()
	known := map[string]bool{}
	for i := range out {
		known[out[i].Name] = true
	}
	now := k.clock.Now()
	for name, list := range k.restored {
		if known[name] {
			continue
		}
		for _, n := range list {
			if n.Until.After(now) {
				out = append(out, n)
			}
		}
	}
	slices.SortStableFunc(out, compareKnown)
	return out
}
