package names

import (
	"bytes"
	"container/list"
	"net/netip"
	"slices"
	"time"
)

// key is an address as 16 bytes, IPv4 ones as IPv6 has them.
type key [16]byte

func keyOf(a netip.Addr) key { return a.As16() }

func (k key) addr() netip.Addr { return netip.AddrFrom16(k).Unmap() }

// seconds since 1970, which end in 2106.
type seconds uint32

func secondsOf(t time.Time) seconds {
	return seconds(min(max(t.Unix(), 0), 1<<32-1))
}

func (s seconds) time() time.Time { return time.Unix(int64(s), 0).UTC() }

// plus ends at the last second that there is.
func (s seconds) plus(d time.Duration) seconds {
	return seconds(min(uint64(s)+uint64(max(0, d/time.Second)), 1<<32-1))
}

// record is an address of a name. There are a million of them on a large node.
type record struct {
	key key
	// since is when the address was learnt first, until when it expires.
	since, until seconds
}

// entry is a name that is known.
type entry struct {
	name    string
	records []record // by address
	exact   *pattern // that spells the name out; nil: none
	wild    []place  // wildcards, sorted by text
	// due is no later than the first of the records' until; index is the place in the heap of Table.
	due   seconds
	index int
}

// place is that of a name in the order of a wildcard.
type place struct {
	pattern *pattern
	at      *list.Element
}

// find returns the place of an address in the records.
func (e *entry) find(k key) (int, bool) {
	return slices.BinarySearchFunc(e.records, k, func(r record, k key) int { return bytes.Compare(r.key[:], k[:]) })
}

// patterns calls f for each pattern that the name is of.
func (e *entry) patterns(f func(*pattern)) {
	if e.exact != nil {
		f(e.exact)
	}
	for _, w := range e.wild {
		f(w.pattern)
	}
}

func (e *entry) of(p *pattern) bool {
	return e.exact == p || slices.ContainsFunc(e.wild, func(w place) bool { return w.pattern == p })
}

// insert adds a record at a place, in steps of an eighth: appending would take twice the memory.
func (e *entry) insert(at int, r record) {
	if len(e.records) == cap(e.records) {
		grown := make([]record, len(e.records), len(e.records)+len(e.records)/8+4)
		copy(grown, e.records)
		e.records = grown
	}
	e.records = slices.Insert(e.records, at, r)
}

// agenda is a heap of names by when they are due. It implements heap.Interface.
type agenda []*entry

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due < a[j].due }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	e, _ := x.(*entry)
	e.index = len(*a)
	*a = append(*a, e)
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return e
}
