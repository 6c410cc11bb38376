package nft

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane/naming"
)

// How plans become messages. Within a transaction the kernel wants things added
// before they are referred to, and referrers gone before what they refer to.

// Kinds of user data in which nft keeps comments and the like, from libnftnl's udata.h.
const (
	udataComment      = 0 // of tables, chains, rules and objects
	udataSetByteOrder = 0 // of a set's keys
	udataSetComment   = 7
	udataSetDataOrder = 1 // of what a map leads to
	hostEndian        = 1
	bigEndian         = 2
)

// maxList is how long a list of elements in one message becomes, in bytes: the
// length of an attribute has 16 bits.
const maxList = 60_000

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

// message writes one message.
func (w *writer) message(kind, flags uint16, what, name string, body func(b *batch)) {
	w.b.message(kind, flags, saying{what, name})
	body(w.b)
	w.b.finish()
}

func (w *writer) table(kind, flags uint16, what string) {
	w.message(kind, flags, what, w.b.table.Name, func(b *batch) {
		b.name(unix.NFTA_TABLE_NAME, b.table.Name)
		if kind == unix.NFT_MSG_NEWTABLE {
			b.uint32(unix.NFTA_TABLE_FLAGS, 0)
			b.comment(nftaTableUserdata, b.table.Comment)
		}
	})
}

func (w *writer) addCounter(c *Counter) {
	w.message(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE, "add counter", c.Name, func(b *batch) {
		b.name(unix.NFTA_OBJ_TABLE, b.table.Name)
		b.name(unix.NFTA_OBJ_NAME, c.Name)
		b.uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
		b.end(b.nest(unix.NFTA_OBJ_DATA))
		b.comment(nftaObjUserdata, c.Comment)
	})
}

func (w *writer) delCounter(name string) {
	w.message(unix.NFT_MSG_DELOBJ, 0, "delete counter", name, func(b *batch) {
		b.name(unix.NFTA_OBJ_TABLE, b.table.Name)
		b.name(unix.NFTA_OBJ_NAME, name)
		b.uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	})
}

// What package unix does not have: attributes, and the verdict that is a policy.
const (
	nftaTableUserdata = 6
	nftaObjUserdata   = 8
	nfAccept          = 1
	nftaChainUserdata = 12
)

// hooks are the kernel's numbers of hooks, the same in families inet and bridge.
var hooks = map[string]uint32{
	"prerouting": unix.NF_INET_PRE_ROUTING, "input": unix.NF_INET_LOCAL_IN, "forward": unix.NF_INET_FORWARD,
	"output": unix.NF_INET_LOCAL_OUT, "postrouting": unix.NF_INET_POST_ROUTING,
}

func (w *writer) addChain(c *Chain) {
	w.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain", c.Name, func(b *batch) {
		b.name(unix.NFTA_CHAIN_TABLE, b.table.Name)
		b.name(unix.NFTA_CHAIN_NAME, c.Name)
		if c.Hook != nil {
			at := b.nest(unix.NFTA_CHAIN_HOOK)
			b.uint32(unix.NFTA_HOOK_HOOKNUM, hooks[c.Hook.Name])
			b.uint32(unix.NFTA_HOOK_PRIORITY, uint32(int32(c.Hook.Priority)))
			b.end(at)
			b.uint32(unix.NFTA_CHAIN_POLICY, nfAccept)
			b.name(unix.NFTA_CHAIN_TYPE, "filter")
		}
		b.comment(nftaChainUserdata, c.Comment)
	})
}

func (w *writer) delChain(name string) {
	w.message(unix.NFT_MSG_DELCHAIN, 0, "delete chain", name, func(b *batch) {
		b.name(unix.NFTA_CHAIN_TABLE, b.table.Name)
		b.name(unix.NFTA_CHAIN_NAME, name)
	})
}

// flushChain deletes all rules of a chain.
func (w *writer) flushChain(name string) {
	w.message(unix.NFT_MSG_DELRULE, 0, "flush chain", name, func(b *batch) {
		b.name(unix.NFTA_RULE_TABLE, b.table.Name)
		b.name(unix.NFTA_RULE_CHAIN, name)
	})
}

func (w *writer) addRule(c *Chain, r *Rule) {
	w.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, "add rule to chain", c.Name, func(b *batch) {
		b.name(unix.NFTA_RULE_TABLE, b.table.Name)
		b.name(unix.NFTA_RULE_CHAIN, c.Name)
		if err := b.assemble(r.Text); err != nil && w.err == nil {
			w.err = err
		}
		b.comment(unix.NFTA_RULE_USERDATA, r.tagged())
	})
}

func (s *Set) flags() (flags uint32) {
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.Verdicts || s.Classes {
		flags |= unix.NFT_SET_MAP
	}
	if s.timed() {
		flags |= unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	}
	return flags
}

func (w *writer) addSet(s *Set) {
	w.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, "add set", s.Name, func(b *batch) {
		number, size := keyType(s.Types)
		b.name(unix.NFTA_SET_TABLE, b.table.Name)
		b.name(unix.NFTA_SET_NAME, s.Name)
		b.uint32(unix.NFTA_SET_FLAGS, s.flags())
		b.uint32(unix.NFTA_SET_KEY_TYPE, number)
		b.uint32(unix.NFTA_SET_KEY_LEN, uint32(size))
		if s.timed() {
			b.uint64(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout.Milliseconds()))
			at := b.nest(unix.NFTA_SET_DESC)
			b.uint32(unix.NFTA_SET_DESC_SIZE, s.Size)
			b.end(at)
		}
		if s.Verdicts {
			b.uint32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
			b.uint32(unix.NFTA_SET_DATA_LEN, 16)
		}
		order := byte(bigEndian)
		if s.Types == TypeClass || s.Types == TypeLink {
			order = hostEndian
		}
		if s.Classes {
			data, length := keyType(TypeClass)
			b.uint32(unix.NFTA_SET_DATA_TYPE, data)
			b.uint32(unix.NFTA_SET_DATA_LEN, uint32(length))
		}
		b.uint32(unix.NFTA_SET_ID, 1) // must be there, is asked for by nobody
		at := b.open(unix.NFTA_SET_USERDATA)
		b.buf = append(b.buf, udataSetByteOrder, 4)
		b.buf = append(b.buf, order, 0, 0, 0)
		if s.Classes {
			b.buf = append(b.buf, udataSetDataOrder, 4, hostEndian, 0, 0, 0)
		}
		if s.Comment != "" {
			text := naming.Plain(s.Comment, maxComment)
			b.buf = append(b.buf, udataSetComment, byte(len(text)+1))
			b.buf = append(append(b.buf, text...), 0)
		}
		b.end(at)
	})
}

func (w *writer) delSet(name string) {
	w.message(unix.NFT_MSG_DELSET, 0, "delete set", name, func(b *batch) {
		b.name(unix.NFTA_SET_TABLE, b.table.Name)
		b.name(unix.NFTA_SET_NAME, name)
	})
}

// elems adds or deletes elements; of a set after the other, so that each list is of one set.
func (w *writer) elems(kind, flags uint16, what string, list []Elem) {
	for len(list) > 0 {
		s := list[0].Set
		w.message(kind, flags, what, s.Name, func(b *batch) {
			b.name(unix.NFTA_SET_ELEM_LIST_TABLE, b.table.Name)
			b.name(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
			at := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			for len(list) > 0 && list[0].Set == s && len(b.buf)-at < maxList {
				b.element(&list[0], kind == unix.NFT_MSG_NEWSETELEM)
				list = list[1:]
			}
			b.end(at)
		})
		w.cut()
	}
}

// element writes an element. In interval sets it is two: where it begins, and
// the first value after it, unless nothing comes after it.
func (b *batch) element(e *Elem, data bool) {
	key := e.Key
	if e.Set.Interval {
		key = key[:len(key)/2]
	}
	at := b.nest(unix.NFTA_LIST_ELEM)
	b.key(key)
	switch {
	case data && e.Set.Verdicts:
		word, chain, _ := strings.Cut(e.Verdict, " ")
		b.verdict(unix.NFTA_SET_ELEM_DATA, word, chain)
	case data && e.Set.Classes:
		at := b.nest(unix.NFTA_SET_ELEM_DATA)
		b.string(unix.NFTA_DATA_VALUE, e.Verdict)
		b.end(at)
	}
	b.end(at)
	if !e.Set.Interval {
		return
	}
	if end, ok := after(e.Key[len(key):]); ok {
		at := b.nest(unix.NFTA_LIST_ELEM)
		b.key(end)
		b.uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		b.end(at)
	}
}

func (b *batch) key(key string) {
	at := b.nest(unix.NFTA_SET_ELEM_KEY)
	b.string(unix.NFTA_DATA_VALUE, key)
	b.end(at)
}

// after is the number one more, in the same bytes; not ok if there is none.
func after(key string) (string, bool) {
	b := []byte(key)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return string(b), true
		}
	}
	return "", false
}

// flushSet deletes all elements of a set.
func (w *writer) flushSet(name string) {
	w.message(unix.NFT_MSG_DELSETELEM, 0, "flush set", name, func(b *batch) {
		b.name(unix.NFTA_SET_ELEM_LIST_TABLE, b.table.Name)
		b.name(unix.NFTA_SET_ELEM_LIST_SET, name)
	})
}

// errLitter says that a change holds, but that not all could be removed to
// which nothing leads any more.
var ErrLitter = errors.New("not all that is gone could be removed")

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

// list has a set's elements, sorted.
func (s *Set) list() []Elem {
	list := make([]Elem, 0, len(s.Elems))
	for _, k := range sortedKeys(s.Elems) {
		list = append(list, Elem{s, k, s.Elems[k]})
	}
	return list
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
