package names

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// Answer is what an answer says about addresses.
type Answer struct {
	// Names are the name that was asked for and those of the CNAME records that lead
	// from it to the addresses, in this order, in the form of Canonical.
	Names []string
	// Addrs are what they lead to.
	Addrs []Address
}

// Address of an answer.
type Address struct {
	Addr netip.Addr
	// TTL is the least one of the records that lead to the address.
	TTL time.Duration
}

// Outcome is what Learn has made of an answer.
type Outcome struct {
	// Names of the answer that some pattern matches.
	Names []string
	// Added is how many addresses are new to one of these names.
	Added int
	// Refused are addresses that Options.Refuse has refused, in the order of the answer.
	Refused []netip.Addr
	// Full is how many names and addresses were left out because the table's bounds
	// leave no room for them.
	Full int
}

// Learn takes an answer in: its addresses are those of each of its names that a pattern
// in use matches. What is known already stays longer, never shorter.
func (t *Table) Learn(a Answer, now time.Time) Outcome {
	var o Outcome
	at := secondsOf(now)
	var fit []record
	for i, name := range a.Names {
		if slices.Contains(a.Names[:i], name) {
			continue
		}
		patterns := t.trie.match(name)
		if len(patterns) == 0 {
			continue
		}
		if o.Names == nil {
			fit, o.Refused = t.acceptable(a.Addrs, at)
		}
		o.Names = append(o.Names, name)
		t.put(name, patterns, fit, &o)
	}
	return o
}

// acceptable returns the records of what may be learnt, each address once, and what may not.
func (t *Table) acceptable(addrs []Address, at seconds) (fit []record, refused []netip.Addr) {
	places := make(map[key]int, len(addrs))
	for _, x := range addrs {
		a := x.Addr.Unmap().WithZone("")
		switch {
		case !a.IsValid():
		case t.opts.Refuse(a):
			refused = append(refused, a)
		default:
			r := record{keyOf(a), at, at.plus(t.lifetime(x.TTL))}
			if i, ok := places[r.key]; ok {
				fit[i].until = max(fit[i].until, r.until)
				continue
			}
			places[r.key] = len(fit)
			fit = append(fit, r)
		}
	}
	return fit, refused
}

func (t *Table) lifetime(ttl time.Duration) time.Duration {
	return min(max(ttl, t.opts.MinTTL), t.opts.MaxTTL) + t.opts.ExtraTTL
}

// Restore takes in what was known at another time, as Names returns it. It expires
// when it was to, and is subject to Refuse and to the bounds as any answer is.
func (t *Table) Restore(k Known, now time.Time) Outcome {
	var o Outcome
	patterns := t.trie.match(k.Name)
	a, at, until := k.Addr.Unmap().WithZone(""), secondsOf(now), secondsOf(k.Until)
	switch {
	case len(patterns) == 0 || !a.IsValid() || until <= at:
		return o
	case t.opts.Refuse(a):
		o.Refused = []netip.Addr{a}
		return o
	}
	// No clock of another time makes it last longer than an answer of now would.
	until = min(until, at.plus(t.opts.MaxTTL+t.opts.ExtraTTL))
	o.Names = []string{k.Name}
	t.put(k.Name, patterns, []record{{keyOf(a), min(secondsOf(k.Since), at), until}}, &o)
	return o
}

// put adds records to a name that patterns match.
func (t *Table) put(name string, patterns []*pattern, records []record, o *Outcome) {
	if len(records) == 0 {
		return
	}
	e := t.names[name]
	if e == nil {
		if e = t.create(name, patterns); e == nil {
			o.Full++
			return
		}
	} else {
		for _, p := range patterns {
			if !e.of(p) && !t.join(e, p) {
				o.Full++
			}
		}
	}
	for _, w := range e.wild {
		w.pattern.order.MoveToBack(w.at)
	}
	for _, r := range records {
		t.add(e, r, o)
	}
}

// create makes a name, unless there is no room for it.
func (t *Table) create(name string, patterns []*pattern) *entry {
	e := &entry{name: name, due: ^seconds(0)}
	t.names[name] = e
	heap.Push(&t.agenda, e)
	for _, p := range patterns {
		t.join(e, p)
	}
	switch {
	case e.exact == nil && len(e.wild) == 0:
		t.remove(e)
	case len(t.names) > t.opts.MaxNames && !t.makeRoom():
		t.forget(e)
	}
	return t.names[name] // not if it has made the room itself
}

// add adds a record to a name, or makes one that is there stay longer.
func (t *Table) add(e *entry, r record, o *Outcome) {
	i, there := e.find(r.key)
	if there {
		e.records[i].until = max(e.records[i].until, r.until)
		return
	}
	if len(e.records) >= t.opts.MaxAddressesPerName {
		victim := t.leastNeeded(e)
		if victim < 0 {
			o.Full++
			return
		}
		t.drop(e, victim)
		i, _ = e.find(r.key)
	}
	e.insert(i, r)
	o.Added++
	e.patterns(func(p *pattern) { t.gain(p, r.key) })
	if r.until < e.due {
		e.due = r.until
		heap.Fix(&t.agenda, e.index)
	}
}

// drop takes a record out.
func (t *Table) drop(e *entry, i int) {
	k := e.records[i].key
	e.records = slices.Delete(e.records, i, i+1)
	e.patterns(func(p *pattern) { t.lose(p, k) })
}
