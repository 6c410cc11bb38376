package flows

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tierwall/tierwall/policy/flows"
)

// Limits of what an agent keeps. With them it needs less than 32 MB, whatever there is.
const (
	// windows are kept: an hour.
	windows = 240
	// maxKeys is how many keys are kept together. When more than trimKeys are there at
	// the end of a window, the lightest are summed until keepKeys are left.
	maxKeys, trimKeys, keepKeys = 20_000, 15_000, 10_000
	// maxCounts is how many counts of a key in a window are kept together, of some 80 bytes.
	maxCounts = 120_000
)

// table sums connections by key and window. It is not safe for concurrent use.
type table struct {
	node    string
	keys    map[identity]*key
	size    int // keys, with those that follow others of their identity
	ring    []*window
	open    *window
	started time.Time // of what it holds
	// fresh are keys of the open window that had one connection when last looked at, oldest
	// first: they make room for others.
	fresh []*key
	// holes are counts of the open window that have been summed, for others to use.
	holes []int
	// summed counts connections that are in no record with ends.
	summed atomic.Uint64
	total  int // counts in ring
	// sampled are the packets of rules' samples, counted on from what rules had denied before.
	sampled map[flows.RuleKey]uint64
}

// key is what connections of a record have in common.
type key struct {
	identity
	decided decided
	// earlier and later generation decided alike; see before.
	generation uint64
	// before is what decided before, if it cannot be said which of the two did.
	before           decided
	beforeGeneration uint64
	ambiguous        bool
	// next has the same identity; the latest comes first.
	next *key

	srcAddrs, dstAddrs samples
	// live connections; listed are those that the dump at work has shown.
	live, listed int64
	// weight is the connections and denials in the ring, uses the windows that have it.
	weight uint64
	uses   int
	// at is its place in the open window, if in is that window.
	at   int
	in   *window
	gone bool
}

// samples are some addresses of an end, and its node.
type samples struct {
	addrs atomic.Pointer[[]netip.Addr]
	node  string
	// several: not all are on node.
	several atomic.Bool
}

func (s *samples) add(a netip.Addr) {
	var list []netip.Addr
	if p := s.addrs.Load(); p != nil {
		list = *p
	}
	at, found := slices.BinarySearchFunc(list, a, netip.Addr.Compare)
	if found || len(list) >= flows.MaxAddresses {
		return
	}
	out := make([]netip.Addr, 0, len(list)+1)
	out = append(append(append(out, list[:at]...), a), list[at:]...)
	s.addrs.Store(&out)
}

// count is what happened to the connections of a key in a window.
type count struct {
	key                *key // nil: of the window's others
	generation         uint64
	began, ended, live uint32
	counted            bool
	sent, received     flows.Volume
	denied             uint64
}

func (c *count) weight() uint64 { return uint64(c.began) + uint64(c.ended) + c.denied }

// sum adds what another count has.
func (c *count) sum(o *count) {
	c.began += o.began
	c.ended += o.ended
	c.live += o.live
	c.counted = c.counted || o.counted
	c.sent.Packets += o.sent.Packets
	c.sent.Bytes += o.sent.Bytes
	c.received.Packets += o.received.Packets
	c.received.Bytes += o.received.Bytes
	c.denied += o.denied
}

// window is one window. Once it is closed, neither it nor its counts change: a smaller one
// replaces it.
type window struct {
	start  time.Time
	counts []count
	other  count
}

func newTable(node string, now time.Time) *table {
	return &table{node: node, keys: map[identity]*key{}, sampled: map[flows.RuleKey]uint64{}, open: &window{start: now.UTC().Truncate(flows.Window)}, started: now}
}

// find returns a key, or makes it; nil: there is no room.
func (t *table) find(a *attribution, generation uint64, before *key) *key {
	first := t.keys[a.identity]
	for k := first; k != nil; k = k.next {
		if k.decided == a.decided && k.is(before) {
			return k
		}
	}
	if t.size >= maxKeys && !t.makeRoom() {
		return nil
	}
	first = t.keys[a.identity] // it may have made the room
	k := &key{identity: a.identity, decided: a.decided, next: first, generation: generation}
	if before != nil {
		k.ambiguous, k.before, k.beforeGeneration = true, before.decided, before.generation
	}
	k.srcAddrs.node, k.dstAddrs.node = a.srcNode, a.dstNode
	t.keys[a.identity] = k
	t.size++
	t.fresh = append(t.fresh, k)
	return k
}

// is reports whether the key has the same answer before as asked for.
func (k *key) is(before *key) bool {
	if before == nil {
		return !k.ambiguous
	}
	return k.ambiguous && k.before == before.decided
}

// makeRoom sums the oldest key of this window that has had one connection only.
func (t *table) makeRoom() bool {
	for len(t.fresh) > 0 {
		k := t.fresh[0]
		t.fresh = t.fresh[1:]
		if k.gone || k.weight > 1 || k.uses > 0 {
			continue
		}
		if k.in == t.open {
			c := &t.open.counts[k.at]
			t.sumOther(&t.open.other, c)
			*c = count{}
			t.holes = append(t.holes, k.at)
		}
		t.remove(k)
		return true
	}
	return false
}

// sumOther adds what is past the limits to a window's others.
func (t *table) sumOther(other, c *count) {
	other.sum(c)
	other.live = 0
	t.summed.Add(uint64(c.began))
}

// remove forgets a key that no window has.
func (t *table) remove(k *key) {
	k.gone, k.in = true, nil
	t.size--
	first := t.keys[k.identity]
	if first == k {
		if k.next == nil {
			delete(t.keys, k.identity)
		} else {
			t.keys[k.identity] = k.next
		}
		return
	}
	for p := first; p != nil; p = p.next {
		if p.next == k {
			p.next = k.next
			return
		}
	}
}

// in is the count of a key in the open window.
func (t *table) in(k *key) *count {
	if k == nil {
		return &t.open.other
	}
	if k.in != t.open {
		k.in, k.at = t.open, len(t.open.counts)
		if n := len(t.holes); n > 0 {
			k.at, t.holes = t.holes[n-1], t.holes[:n-1]
			t.open.counts[k.at].key = k
		} else {
			t.open.counts = append(t.open.counts, count{key: k})
		}
	}
	return &t.open.counts[k.at]
}

// allowed is the latest key of the same ends that policy allowed; nil: none is known.
func (t *table) allowed(id *identity) *key {
	for k := t.keys[*id]; k != nil; k = k.next {
		if k.decided.Value().action != denied {
			return k
		}
	}
	return nil
}

// listed begins or, with over, ends what a dump shows.
func (t *table) listed(over bool) {
	for _, k := range t.keys {
		for ; k != nil; k = k.next {
			if over {
				k.live = k.listed
			}
			k.listed = 0
		}
	}
}

// over reports whether the open window is.
func (t *table) over(now time.Time) bool { return !now.Before(t.open.start.Add(flows.Window)) }

// close ends the open window, if it is over, and returns it.
func (t *table) close(now time.Time) *window {
	if !t.over(now) {
		return nil
	}
	w := &window{start: t.open.start, other: t.open.other, counts: make([]count, 0, len(t.open.counts))}
	for i := range t.open.counts {
		c := &t.open.counts[i]
		if c.key == nil {
			continue
		}
		if c.weight() == 0 && !c.counted && c.key.live <= 0 {
			continue // denials that are in records already
		}
		c.live = uint32(max(c.key.live, 0))
		c.key.uses++
		w.counts = append(w.counts, *c)
	}
	t.open = &window{start: now.UTC().Truncate(flows.Window)}
	t.fresh, t.holes = nil, nil
	t.ring = append(t.ring, w)
	t.total += len(w.counts)
	t.expire(now)
	if t.size > trimKeys {
		t.trimKeys()
	}
	if t.total > maxCounts {
		t.trimCounts()
	}
	return t.ring[len(t.ring)-1]
}

// expire forgets windows that are too old.
func (t *table) expire(now time.Time) {
	oldest := now.UTC().Truncate(flows.Window).Add(-windows * flows.Window)
	for len(t.ring) > 0 && t.ring[0].start.Before(oldest) {
		for i := range t.ring[0].counts {
			t.unuse(&t.ring[0].counts[i])
		}
		t.total -= len(t.ring[0].counts)
		t.ring[0] = nil
		t.ring = t.ring[1:]
	}
	for _, k := range t.keys {
		for ; k != nil; k = k.next {
			if k.uses == 0 && k.live <= 0 && k.in != t.open {
				t.remove(k)
			}
		}
	}
}

func (t *table) unuse(c *count) {
	c.key.uses--
	c.key.weight -= min(c.key.weight, uint64(c.began)+c.denied)
}

// trimKeys sums the lightest keys until keepKeys are left.
func (t *table) trimKeys() {
	all := make([]*key, 0, t.size)
	for _, k := range t.keys {
		for ; k != nil; k = k.next {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *key) int { return cmp.Compare(b.weight, a.weight) })
	for _, k := range all[min(keepKeys, len(all)):] {
		t.remove(k)
	}
	for i, w := range t.ring {
		t.ring[i] = t.replace(w, func(c *count) bool { return !c.key.gone })
	}
}

// trimCounts sums the lightest counts of the oldest windows.
func (t *table) trimCounts() {
	share := maxCounts / windows
	for i, w := range t.ring {
		if t.total <= maxCounts*3/4 {
			return
		}
		if len(w.counts) <= share {
			continue
		}
		weights := make([]uint64, len(w.counts))
		for j := range w.counts {
			weights[j] = w.counts[j].weight()
		}
		slices.SortFunc(weights, func(a, b uint64) int { return cmp.Compare(b, a) })
		least, room := weights[share-1], share
		for _, n := range weights {
			if n > least {
				room--
			}
		}
		t.ring[i] = t.replace(w, func(c *count) bool {
			switch n := c.weight(); {
			case n > least:
				return true
			case n == least && room > 0:
				room--
				return true
			}
			t.unuse(c)
			return false
		})
	}
}

// replace is a window with some of its counts; the rest is summed.
func (t *table) replace(w *window, keep func(*count) bool) *window {
	out := &window{start: w.start, other: w.other}
	for i := range w.counts {
		if c := w.counts[i]; keep(&c) {
			out.counts = append(out.counts, c)
		} else {
			t.sumOther(&out.other, &c)
		}
	}
	if len(out.counts) == len(w.counts) {
		return w
	}
	out.counts = slices.Clip(out.counts)
	t.total -= len(w.counts) - len(out.counts)
	return out
}
