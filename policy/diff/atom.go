package diff

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
)

// atom is an address of an endpoint, or a group of outside addresses, in both worlds.
type atom struct {
	index  int       // in worlds.atoms
	who    model.Ref // zero for outside addresses
	rank   int       // of who in worlds.whos; -1 for outside addresses
	group  int       // of outside addresses; -1 for endpoints
	family uint8     // 4 or 6
	// a and b are the party in each world, nil where it has no such address.
	a, b *packets.Party
	// opens is the number in worlds.opens of the doors that it has.
	opens int
}

// addr is the address to show: that of the second world if it has one.
func (x *atom) addr() netip.Addr {
	if x.b != nil {
		return x.b.Addr
	}
	return x.a.Addr
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return 4
	}
	return 6
}

// worlds are the two sides of a comparison.
type worlds struct {
	a, b   *packets.Evaluator
	groups []packets.External
	atoms  []atom
	whos   []model.Ref // all endpoints, sorted
	// doors of each world, and the sets of them that atoms have; the first is empty.
	doors [2]map[door]service.Match
	opens []opened
}

func newWorlds(a, b *index.Index, o Options) *worlds {
	w := &worlds{b: o.After}
	if w.b == nil {
		w.b = packets.NewEvaluator(b)
	}
	w.a = w.b.Beside(a)
	w.pods()
	w.hosts()
	w.groups = slices.DeleteFunc(packets.CutApart(externals(o), w.a, w.b), neverArrivesAt(o))
	for i, g := range w.groups {
		w.atoms = append(w.atoms, atom{group: i, family: familyOf(g.Addr), a: w.a.Party(g.Addr), b: w.b.Party(g.Addr)})
	}
	for i := range w.atoms {
		w.atoms[i].index = i
	}
	w.rank()
	w.findDoors(o)
	return w
}

// rank numbers the endpoints: numbers are compared faster than names.
func (w *worlds) rank() {
	for i := range w.atoms {
		if w.atoms[i].group < 0 {
			w.whos = append(w.whos, w.atoms[i].who)
		}
	}
	slices.SortFunc(w.whos, model.Ref.Compare)
	w.whos = slices.Compact(w.whos)
	ranks := make(map[model.Ref]int, len(w.whos))
	for i, r := range w.whos {
		ranks[r] = i
	}
	for i := range w.atoms {
		x := &w.atoms[i]
		if x.rank = -1; x.group < 0 {
			x.rank = ranks[x.who]
		}
	}
}

// neverArrivesAt returns a predicate that reports whether all addresses of a group of
// outside addresses are cluster addresses of Services in both worlds: traffic to them
// is translated before policies see it, and compared as what it is then. Stages that
// see it before that are compared by differ.services.
func neverArrivesAt(o Options) func(packets.External) bool {
	inBoth := map[netip.Addr]int{}
	for i, services := range [][]packets.Service{o.ServicesBefore, o.ServicesAfter} {
		for _, s := range services {
			for _, addr := range s.Addrs {
				inBoth[addr] |= 1 << i
			}
		}
	}
	var own []packets.Range
	for addr, in := range inBoth {
		if in == 3 {
			own = append(own, packets.Range{From: addr, To: addr})
		}
	}
	return func(g packets.External) bool { return len(own) > 0 && len(packets.Without(g.Ranges, own)) == 0 }
}

// pods adds the pods of both worlds. A pod is identified by its name: its address may
// have changed.
func (w *worlds) pods() {
	var refs []model.Ref
	for _, e := range []*packets.Evaluator{w.a, w.b} {
		for _, r := range e.Index().Endpoints() {
			if r.Kind == model.KindPod {
				refs = append(refs, r)
			}
		}
	}
	slices.SortFunc(refs, model.Ref.Compare)
	for _, r := range slices.Compact(refs) {
		a, b := podAddrs(w.a, r), podAddrs(w.b, r)
		for _, family := range []uint8{4, 6} {
			for _, p := range pairUp(ofFamily(a, family), ofFamily(b, family)) {
				x := atom{who: r, group: -1, family: family}
				if p[0].IsValid() {
					x.a = w.a.Party(p[0])
				}
				if p[1].IsValid() {
					x.b = w.b.Party(p[1])
				}
				w.atoms = append(w.atoms, x)
			}
		}
	}
}

// podAddrs are the addresses of a pod for which no other pod with the same address
// takes precedence.
func podAddrs(e *packets.Evaluator, r model.Ref) []netip.Addr {
	ep, ok := e.Index().Endpoint(r)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(ep.Addrs), func(a netip.Addr) bool { return e.Index().Owner(a) != r })
}

func ofFamily(addrs []netip.Addr, family uint8) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if familyOf(a) == family {
			out = append(out, a)
		}
	}
	return out
}

// pairUp pairs equal addresses, then the others in their order; an address without a
// partner is paired with none.
func pairUp(a, b []netip.Addr) [][2]netip.Addr {
	var out [][2]netip.Addr
	var restA, restB []netip.Addr
	for _, x := range a {
		if slices.Contains(b, x) {
			out = append(out, [2]netip.Addr{x, x})
		} else {
			restA = append(restA, x)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			restB = append(restB, x)
		}
	}
	for i := range max(len(restA), len(restB)) {
		var p [2]netip.Addr
		if i < len(restA) {
			p[0] = restA[i]
		}
		if i < len(restB) {
			p[1] = restB[i]
		}
		out = append(out, p)
	}
	return out
}

// hosts adds the addresses of nodes and of host endpoints that are not a node's. A host
// is identified by its address.
func (w *worlds) hosts() {
	names := map[netip.Addr]model.Ref{}
	for _, e := range []*packets.Evaluator{w.a, w.b} {
		for _, n := range e.Index().Nodes() {
			for _, a := range n.Addrs {
				a = a.Unmap()
				if old, ok := names[a]; !ok || n.Key().Compare(old) < 0 {
					names[a] = n.Key()
				}
			}
		}
	}
	for _, e := range []*packets.Evaluator{w.a, w.b} {
		for _, r := range e.Index().Endpoints() {
			if r.Kind != model.KindHostEndpoint {
				continue
			}
			if h, ok := e.Index().Endpoint(r); ok {
				for _, a := range h.Addrs {
					if _, ok := names[a]; !ok {
						names[a] = r
					}
				}
			}
		}
	}
	addrs := make([]netip.Addr, 0, len(names))
	for a := range names {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range addrs {
		x := atom{who: names[a], group: -1, family: familyOf(a), a: w.a.Party(a), b: w.b.Party(a)}
		// A host endpoint that is added to an address changes the access of that
		// address, whereas the addresses of a new node are themselves new.
		there := func(p *packets.Party) bool {
			return p.Host || p.Pod == nil && x.who.Kind == model.KindHostEndpoint
		}
		if !there(x.a) {
			x.a = nil
		}
		if !there(x.b) {
			x.b = nil
		}
		if x.a != nil || x.b != nil {
			w.atoms = append(w.atoms, x)
		}
	}
}
