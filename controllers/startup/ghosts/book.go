package ghosts

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

const (
	// Margin is how long after a pod's grace period its containers may take to end.
	Margin = 30 * time.Second
	// Longest is how long a ghost stays of which nothing shows that it runs.
	Longest = time.Hour
	// MaxNamed is how many ghosts have a name of their own.
	MaxNamed = 1024
	// MaxMore is how many addresses the ghosts beyond these have together. It is more
	// than a node's pods can have within Longest; of more, those that would end first give way.
	MaxMore = 1 << 16
)

// Pod is a pod whose object is gone.
type Pod struct {
	// Namespace, Name and UID of the object.
	Namespace, Name, UID string
	// Addrs that the pod has.
	Addrs []netip.Addr
	// Linked are those of Addrs that an interface of the node leads to.
	Linked []netip.Addr
	// Sandbox that the runtime reports as running; empty: it is not known whether one is.
	Sandbox string
	// Grace is the time that the pod has to end after its deletion; negative counts as none.
	Grace time.Duration
}

// Ref names the pod's ghost.
func (p *Pod) Ref() model.Ref { return model.GhostRef(p.Namespace, p.Name, p.UID) }

// lasts returns how long the pod's ghost stays without evidence.
func (p *Pod) lasts() time.Duration { return min(max(p.Grace, 0)+Margin, Longest) }

// Sandbox is a sandbox that the runtime lists.
type Sandbox struct {
	// ID is the runtime's name of it, UID that of its pod.
	ID, UID string
	// Running: its process runs. Else it may have stopped, or this is not known.
	Running bool
}

// End is why an address is no ghost's any more.
type End string

// The ends.
const (
	// Stopped: the runtime has stopped the sandbox.
	Stopped End = "stopped"
	// Unlinked: the interface or route is gone.
	Unlinked End = "unlinked"
	// Owned: a pod or node has the address.
	Owned End = "owned"
	// Expired: nothing shows that it runs, and its time is over.
	Expired End = "expired"
)

// Ends are all of them.
var Ends = []End{Stopped, Unlinked, Owned, Expired}

// Event is a ghost that has begun, or addresses of one that have ended.
type Event struct {
	Ref   model.Ref
	Addrs []netip.Addr
	// End is empty for one that has begun.
	End End
}

// Book holds the ghosts of one node. The zero Book is not usable: see New. Not safe
// for concurrent use.
type Book struct {
	node   string
	ghosts map[model.Ref]*ghost
	// holders are the ghosts by address, of which each is one ghost's.
	holders map[netip.Addr]*ghost
	// dirty are the ghosts that have changed since Changes, known those that it has returned
	// and not removed.
	dirty, known map[model.Ref]struct{}
	events       []Event
}

// ghost is a pod that may still run. The one of more has addresses of several pods.
type ghost struct {
	ref     model.Ref
	pod     Pod
	sandbox string
	places  []place // sorted by address
}

// place is an address of a ghost.
type place struct {
	addr   netip.Addr
	linked bool
	until  time.Time // without evidence
}

// more is the ghost of all that have no name of their own.
var more = Pod{Name: "more"}

// New returns the book of a node, without ghosts.
func New(node string) *Book {
	return &Book{
		node: node, ghosts: map[model.Ref]*ghost{}, holders: map[netip.Addr]*ghost{},
		dirty: map[model.Ref]struct{}{}, known: map[model.Ref]struct{}{},
	}
}

// Len is the number of addresses that ghosts have.
func (b *Book) Len() int { return len(b.holders) }

// Has reports whether an address is a ghost's.
func (b *Book) Has(a netip.Addr) bool { return b.holders[a] != nil }

// Begin enters a pod whose object is gone at a time. One that is there already gets
// what is known of it now.
func (b *Book) Begin(p Pod, now time.Time) {
	if len(p.Addrs) == 0 {
		return
	}
	ref := p.Ref()
	g := b.ghosts[ref]
	if g == nil {
		b.events = append(b.events, Event{Ref: ref, Addrs: slices.Clone(p.Addrs)})
	}
	until := now.Add(p.lasts())
	switch {
	case g != nil:
	case len(b.ghosts) < MaxNamed:
		g = &ghost{ref: ref, pod: p}
	default:
		if g = b.ghosts[more.Ref()]; g == nil {
			g = &ghost{ref: more.Ref(), pod: more}
		}
		until = now.Add(Longest) // its sandbox is not noted
	}
	b.ghosts[g.ref] = g
	if g.ref == ref {
		g.sandbox = cmp.Or(p.Sandbox, g.sandbox)
	}
	for _, a := range p.Addrs {
		b.place(g, place{addr: a, linked: slices.Contains(p.Linked, a), until: until})
	}
	if over := len(g.places) - MaxMore; g.ref == more.Ref() && over > 0 {
		b.giveWay(g, over)
	}
}

// place gives a ghost an address; one that it has keeps the evidence that there is.
func (b *Book) place(g *ghost, p place) {
	if old := b.holders[p.addr]; old != nil && old != g {
		b.drop(old, []netip.Addr{p.addr})
	}
	i, found := slices.BinarySearchFunc(g.places, p.addr, func(x place, a netip.Addr) int { return x.addr.Compare(a) })
	if found {
		p.linked = p.linked || g.places[i].linked
		g.places[i] = p
		return
	}
	g.places = slices.Insert(g.places, i, p)
	b.holders[p.addr] = g
	b.dirty[g.ref] = struct{}{}
}

// giveWay drops the addresses that would end first.
func (b *Book) giveWay(g *ghost, n int) {
	list := slices.Clone(g.places)
	slices.SortStableFunc(list, func(x, y place) int {
		if x.linked != y.linked {
			if y.linked {
				return -1
			}
			return 1
		}
		return x.until.Compare(y.until)
	})
	var gone []netip.Addr
	for i := range list[:n] {
		gone = append(gone, list[i].addr)
	}
	b.end(g, gone, Expired)
}

// end takes addresses from a ghost, and notes why.
func (b *Book) end(g *ghost, addrs []netip.Addr, why End) {
	if len(addrs) == 0 {
		return
	}
	b.events = append(b.events, Event{Ref: g.ref, Addrs: addrs, End: why})
	b.drop(g, addrs)
}

// drop takes addresses from a ghost; one without any is gone.
func (b *Book) drop(g *ghost, addrs []netip.Addr) {
	gone := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		gone[a] = struct{}{}
		delete(b.holders, a)
	}
	g.places = slices.DeleteFunc(g.places, func(p place) bool { _, is := gone[p.addr]; return is })
	b.dirty[g.ref] = struct{}{}
	if len(g.places) == 0 {
		delete(b.ghosts, g.ref)
	}
}

// sorted are the ghosts by name, so that what follows from them is the same each time.
func (b *Book) sorted() []*ghost {
	out := make([]*ghost, 0, len(b.ghosts))
	for _, g := range b.ghosts {
		out = append(out, g)
	}
	slices.SortFunc(out, func(x, y *ghost) int { return x.ref.Compare(y.ref) })
	return out
}

func (g *ghost) addrs() []netip.Addr {
	out := make([]netip.Addr, len(g.places))
	for i := range g.places {
		out[i] = g.places[i].addr
	}
	return out
}

// Stopped ends the ghost of a sandbox that has stopped.
func (b *Book) Stopped(sandbox string) {
	if sandbox == "" {
		return
	}
	for _, g := range b.sorted() {
		if g.sandbox == sandbox {
			b.end(g, g.addrs(), Stopped)
		}
	}
}

// Running takes all sandboxes that the runtime lists. Of a sandbox that it does not
// list, as after its own restart, it is not known any more whether it runs.
func (b *Book) Running(list []Sandbox, now time.Time) {
	byID, byUID := map[string]Sandbox{}, map[string]Sandbox{}
	for _, s := range list {
		byID[s.ID] = s
		if s.Running {
			byUID[s.UID] = s
		}
	}
	for _, g := range b.sorted() {
		s, listed := byID[g.sandbox]
		switch {
		case g.sandbox != "" && listed && !s.Running:
			b.end(g, g.addrs(), Stopped)
		case g.sandbox != "" && !listed:
			g.forget(now)
		}
		if other, ok := byUID[g.pod.UID]; ok && g.sandbox == "" && g.pod.UID != "" {
			g.sandbox = other.ID
		}
	}
}

// Lost notes that the runtime does not report any more what becomes of sandboxes.
func (b *Book) Lost(now time.Time) {
	for _, g := range b.ghosts {
		if g.sandbox != "" {
			g.forget(now)
		}
	}
}

// forget has the time run of a ghost whose sandbox is not known any more.
func (g *ghost) forget(now time.Time) {
	g.sandbox = ""
	for i := range g.places {
		g.places[i].until = now.Add(g.pod.lasts())
	}
}

// Own notes that a pod or node has an address, on this node or elsewhere.
func (b *Book) Own(a netip.Addr, here bool) {
	g := b.holders[a]
	if g == nil {
		return
	}
	i, _ := slices.BinarySearchFunc(g.places, a, func(x place, a netip.Addr) int { return x.addr.Compare(a) })
	if here || !g.places[i].linked {
		b.end(g, []netip.Addr{a}, Owned)
	}
}

// Link takes what the kernel lists of a ghost's addresses: asked are those that it was
// asked about, linked those of them that an interface leads to.
func (b *Book) Link(asked, linked func(netip.Addr) bool) {
	for _, g := range b.sorted() {
		var gone []netip.Addr
		for i := range g.places {
			p := &g.places[i]
			switch {
			case !asked(p.addr):
			case linked(p.addr):
				p.linked = true
			case p.linked:
				gone = append(gone, p.addr)
			}
		}
		b.end(g, gone, Unlinked)
	}
}

// Expire ends the addresses whose time is over at a time.
func (b *Book) Expire(now time.Time) {
	for _, g := range b.sorted() {
		var gone []netip.Addr
		for i := range g.places {
			if g.timed(i) && !g.places[i].until.After(now) {
				gone = append(gone, g.places[i].addr)
			}
		}
		b.end(g, gone, Expired)
	}
}

// timed reports whether an address ends by time: nothing shows that its pod runs.
func (g *ghost) timed(i int) bool { return g.sandbox == "" && !g.places[i].linked }

// Next is when the next address ends by time; zero: none does.
func (b *Book) Next() (next time.Time) {
	for _, g := range b.ghosts {
		for i := range g.places {
			if until := g.places[i].until; g.timed(i) && (next.IsZero() || until.Before(next)) {
				next = until
			}
		}
	}
	return next
}

// Changes returns the ghosts that are new or changed, and the names of those that are
// gone, since it was last called; sorted.
func (b *Book) Changes() (upserts []*convert.Ghost, deletes []model.Ref) {
	refs := make([]model.Ref, 0, len(b.dirty))
	for r := range b.dirty {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, model.Ref.Compare)
	for _, r := range refs {
		g := b.ghosts[r]
		_, known := b.known[r]
		switch {
		case g != nil:
			b.known[r] = struct{}{}
			upserts = append(upserts, &convert.Ghost{Namespace: g.pod.Namespace, Name: g.pod.Name, UID: g.pod.UID, Node: b.node, Addrs: g.addrs()})
		case known:
			delete(b.known, r)
			deletes = append(deletes, r)
		}
	}
	clear(b.dirty)
	return upserts, deletes
}

// Events returns what has begun and ended since it was last called.
func (b *Book) Events() []Event {
	out := b.events
	b.events = nil
	return out
}
