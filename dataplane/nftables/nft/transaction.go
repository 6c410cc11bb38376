package nft

import (
	"errors"

	"golang.org/x/sys/unix"
)

// The order of a Plan's messages. Within a transaction the kernel wants things added
// before they are referred to, and referrers gone before what they refer to.

// writer puts plans into batches. Where a batch may be cut, because no packet
// sees what has been written so far, it is cut when it becomes large.
type writer struct {
	b     *batch
	limit int // bytes of a batch that is cut; 0: none is
	flush func(*batch) error
	err   error
	// shown is true once what packets see has been carried out; after says that
	// it is written.
	after, shown bool
}

// cut ends the batch here if it is large.
func (w *writer) cut() {
	if w.limit > 0 && len(w.b.buf) > w.limit {
		w.end()
	}
}

// end hands the batch over and begins another.
func (w *writer) end() {
	if w.err == nil && w.b.messages() > 0 {
		w.b.close()
		w.err = w.flush(w.b)
		w.shown = w.shown || w.after && w.err == nil
	}
	w.b = newBatch(w.b.table)
}

// plan writes a plan. A large one is several transactions: before, with what is
// new and leads nowhere yet; in its midst the one that counts; and after, with
// what nothing leads to any more.
func (w *writer) plan(p *Plan) error {
	limit := w.limit
	if p.Rebuild || p.Remove { // what stands is taken away by the transaction that replaces it
		limit = 0
		w.table(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "add table") // so that there is one to delete
		w.table(unix.NFT_MSG_DELTABLE, 0, "delete table")
	}
	if p.Rebuild || p.NewTable {
		w.table(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "add table")
	}
	w.limit = limit
	w.before(p)
	w.endIfLarge(limit)
	w.limit = 0
	w.visible(p)
	w.after = true
	w.endIfLarge(limit)
	w.limit = limit
	w.gone(p)
	w.end()
	if w.err != nil && w.shown {
		return errors.Join(ErrLitter, w.err)
	}
	return w.err
}

func (w *writer) endIfLarge(limit int) {
	if limit > 0 && len(w.b.buf) > limit/4 {
		w.end()
	}
}

// before writes what is new and leads nowhere yet.
func (w *writer) before(p *Plan) {
	for _, c := range p.AddCounters {
		w.addCounter(c)
		w.cut()
	}
	for _, c := range p.AddChains {
		if c.Hook == nil {
			w.addChain(c)
			w.cut()
		}
	}
	for _, s := range p.AddSets {
		w.addSet(s)
		w.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to set", s.list())
		w.cut()
	}
	for _, c := range p.AddChains {
		if c.Hook == nil {
			w.rules(c)
			w.cut()
		}
	}
}

func (w *writer) rules(c *Chain) {
	for i := range c.Rules {
		w.addRule(c, &c.Rules[i])
	}
}

// visible writes what packets see.
func (w *writer) visible(p *Plan) {
	w.elems(unix.NFT_MSG_DELSETELEM, 0, "delete elements of set", p.DelElems)
	w.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to set", p.AddElems)
	for _, c := range p.AddChains {
		if c.Hook != nil {
			w.addChain(c)
			w.rules(c)
		}
	}
	for _, c := range p.FillChains {
		w.flushChain(c.Name)
		w.rules(c)
	}
}

// gone writes what nothing leads to any more.
func (w *writer) gone(p *Plan) {
	for _, name := range p.DelChains {
		w.flushChain(name)
		w.cut()
	}
	for _, s := range p.DelSets {
		if s.Verdicts { // verdicts hold on to their chains until the map is empty
			w.flushSet(s.Name)
			w.cut()
		}
	}
	for _, name := range p.DelChains {
		w.delChain(name)
		w.cut()
	}
	for _, s := range p.DelSets {
		w.delSet(s.Name)
		w.cut()
	}
	for _, name := range p.DelCounters {
		w.delCounter(name)
		w.cut()
	}
}

// ErrLitter is the error of a change that holds, of which not all could be removed to
// which nothing leads any more: Read finds it.
var ErrLitter = errors.New("not all that is gone could be removed")
