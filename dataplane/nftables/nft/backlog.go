package nft

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// hidden is work that no packet sees and that waits: what is new and leads nowhere yet,
// and what nothing leads to any more. It is done in slices, so that what packets are to
// see need not wait for it. Work is in an order in which the kernel takes it, and it may
// come before or after any plan that does not name what it is about.
type Backlog struct {
	steps []step
	// names counts the steps by what they are about.
	names map[string]int
}

// step is a small piece of such work: a message or a few.
type step struct {
	name  string
	write func(w *writer)
	gone  bool // something goes: where that fails nothing is lost
}

// sliceSize is how large a transaction of hidden work is, in bytes: some 15 ms of the
// kernel's time.
const SliceSize = 192 << 10

// stepRules and stepElems are how many rules or elements a step has.
const (
	stepRules = 100
	stepElems = 500
)

func (h *Backlog) put(name string, write func(w *writer)) { h.add(step{name: name, write: write}) }

func (h *Backlog) add(s step) {
	if h.names == nil {
		h.names = map[string]int{}
	}
	h.names[s.name]++
	h.steps = append(h.steps, s)
}

func (h *Backlog) Empty() bool { return len(h.steps) == 0 }

// addBefore takes what a plan writes before what packets see; see writer.before.
// Elements are those of now: later changes of a set come in plans of their own.
func (h *Backlog) AddNew(p *Plan) {
	for _, c := range p.AddCounters {
		h.put(c.Name, func(w *writer) { w.addCounter(c) })
	}
	for _, c := range p.AddChains {
		if c.Hook == nil {
			h.put(c.Name, func(w *writer) { w.addChain(c) })
		}
	}
	for _, s := range p.AddSets {
		h.put(s.Name, func(w *writer) { w.addSet(s) })
		list := s.list()
		for len(list) > 0 {
			n := min(len(list), stepElems)
			some := list[:n]
			list = list[n:]
			h.put(s.Name, func(w *writer) {
				w.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to set", some)
			})
		}
	}
	for _, c := range p.AddChains {
		if c.Hook != nil {
			continue
		}
		for from := 0; from < len(c.Rules); from += stepRules {
			some := c.Rules[from:min(len(c.Rules), from+stepRules)]
			h.put(c.Name, func(w *writer) {
				for i := range some {
					w.addRule(c, &some[i])
				}
			})
		}
	}
}

// addGone takes what a plan writes after what packets see; see writer.gone.
func (h *Backlog) AddGone(p *Plan) {
	put := func(name string, write func(w *writer)) { h.add(step{name: name, write: write, gone: true}) }
	for _, name := range p.DelChains {
		put(name, func(w *writer) { w.flushChain(name) })
	}
	for _, s := range p.DelSets {
		if s.Verdicts {
			put(s.Name, func(w *writer) { w.flushSet(s.Name) })
		}
	}
	for _, name := range p.DelChains {
		put(name, func(w *writer) { w.delChain(name) })
	}
	for _, s := range p.DelSets {
		put(s.Name, func(w *writer) { w.delSet(s.Name) })
	}
	for _, name := range p.DelCounters {
		put(name, func(w *writer) { w.delCounter(name) })
	}
}

// slice does work of about so many bytes, in one transaction; 0: all, in as many as it
// takes.
func (k *Conn) Slice(h *Backlog, size int) error {
	n, gone := 0, false
	w := writer{b: newBatch(&k.table), flush: k.socket.commit}
	for n < len(h.steps) && w.err == nil && (size == 0 || len(w.b.buf) < size) {
		gone = gone || h.steps[n].gone
		h.steps[n].write(&w)
		n++
		if size == 0 && len(w.b.buf) > SliceSize {
			w.end()
		}
	}
	w.end()
	err := k.renew(w.err)
	for _, s := range h.steps[:n] {
		if h.names[s.name]--; h.names[s.name] == 0 {
			delete(h.names, s.name)
		}
	}
	if h.steps = h.steps[n:]; len(h.steps) == 0 {
		h.steps = nil
	}
	if err != nil && gone {
		return errors.Join(ErrLitter, err)
	}
	return err
}

// concerns reports whether a plan names what hidden work is about.
func (h *Backlog) Concerns(p *Plan) bool {
	if h.Empty() {
		return false
	}
	has := func(name string) bool { return h.names[name] > 0 }
	named := func(c *Chain) bool {
		if has(c.Name) {
			return true
		}
		for i := range c.Rules {
			for word := range strings.SplitSeq(c.Rules[i].Text, " ") {
				if has(strings.TrimPrefix(word, "@")) {
					return true
				}
			}
		}
		return false
	}
	verdict := func(v string) bool {
		_, to, _ := strings.Cut(v, " ")
		return to != "" && has(to)
	}
	for _, list := range [][]*Chain{p.AddChains, p.FillChains} {
		for _, c := range list {
			if named(c) {
				return true
			}
		}
	}
	for _, s := range p.AddSets {
		if has(s.Name) {
			return true
		}
		if s.Verdicts {
			for _, v := range s.Elems {
				if verdict(v) {
					return true
				}
			}
		}
	}
	for _, list := range [][]Elem{p.DelElems, p.AddElems} {
		for i := range list {
			if e := &list[i]; has(e.Set.Name) || e.Set.Verdicts && verdict(e.Verdict) {
				return true
			}
		}
	}
	for _, c := range p.AddCounters {
		if has(c.Name) {
			return true
		}
	}
	for _, s := range p.DelSets {
		if has(s.Name) {
			return true
		}
	}
	for _, list := range [][]string{p.DelChains, p.DelCounters} {
		for _, name := range list {
			if has(name) {
				return true
			}
		}
	}
	return false
}
