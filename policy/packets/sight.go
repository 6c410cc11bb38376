package packets

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// sight is how rules see an address, as far as it has been evaluated. Addresses that no
// rule and no failsafe port distinguishes share one: the thousand pods of a workload
// are evaluated once.
type sight struct {
	addr            netip.Addr // one of them
	ofSide          answers    // by side number
	ofHalf, ofChain [2]answers
	// failsafe are what failsafe ports decide of the traffic of a host with it.
	failsafe map[failsafeKey]*Outcome
	// whole are the numbers of Sight, by halves.
	whole map[*int32]int32
}

func newSight(a netip.Addr) *sight { return &sight{addr: a} }

// lookalikes finds the addresses that rules see alike.
type lookalikes struct {
	members *index.Memberships
	nets    netLists
	sights  map[string]*sight
	key     []byte // a buffer
}

// newLookalikes may be called once all rules are known: see load.
func (e *Evaluator) newLookalikes() *lookalikes {
	l := &lookalikes{members: e.ix.Memberships(), sights: map[string]*sight{}}
	l.nets.lists = map[string]uint64{}
	l.nets.at = map[netip.Prefix][]uint64{}
	for _, id := range sortedKeys(e.rules) {
		for i := range e.rules[id] {
			m := &e.rules[id][i].Match
			for _, peer := range []*model.Peer{&m.Source, &m.Destination} {
				l.nets.add(peer.Nets)
				l.nets.add(peer.NotNets)
			}
		}
	}
	for _, list := range [][]model.FailsafePort{e.settings.FailsafeInbound, e.settings.FailsafeOutbound} {
		for _, f := range list {
			if f.Net.IsValid() {
				l.nets.add([]netip.Prefix{f.Net})
			}
		}
	}
	return l
}

// of is the sight that an address shares.
func (l *lookalikes) of(a netip.Addr) *sight {
	b := l.key[:0]
	b = append(b, byte(a.BitLen()), byte(len(a.Zone())))
	b = append(b, a.Zone()...) // no block holds an address with a zone
	b = l.members.Append(b, a)
	b = l.nets.append(b, a)
	l.key = b
	s, ok := l.sights[string(b)]
	if !ok {
		s = newSight(a)
		l.sights[string(b)] = s
	}
	return s
}

// netLists determines which lists of blocks contain an address.
type netLists struct {
	lists map[string]uint64
	at    map[netip.Prefix][]uint64
	// bits4 and bits6 record which lengths of blocks exist.
	bits4  [33]bool
	bits6  [129]bool
	buffer []uint64
	key    []byte
}

func (n *netLists) add(list []netip.Prefix) {
	if len(list) == 0 {
		return
	}
	n.key = appendNets(n.key[:0], list)
	if _, ok := n.lists[string(n.key)]; ok {
		return
	}
	id := uint64(len(n.lists))
	n.lists[string(n.key)] = id
	for _, p := range list {
		if !p.IsValid() {
			continue
		}
		p = p.Masked()
		n.at[p] = append(n.at[p], id)
		if p.Addr().Is4() {
			n.bits4[p.Bits()] = true
		} else {
			n.bits6[p.Bits()] = true
		}
	}
}

// append appends the numbers of the lists that contain an address.
func (n *netLists) append(b []byte, a netip.Addr) []byte {
	lengths := n.bits6[:]
	if a.Is4() {
		lengths = n.bits4[:]
	}
	found := n.buffer[:0]
	for bits, there := range lengths {
		if !there {
			continue
		}
		if p, err := a.Prefix(bits); err == nil {
			found = append(found, n.at[p]...)
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	n.buffer = found
	for _, id := range found {
		b = binary.AppendUvarint(b, id)
	}
	return b
}

// seen is the sight of a party. Before all rules are known, each party has its own.
func (e *Evaluator) seen(p *Party) *sight {
	if p.sight == nil {
		if e.alike != nil {
			p.sight = e.alike.of(p.Addr)
		} else {
			p.sight = newSight(p.Addr)
		}
	}
	return p.sight
}

// Distinct keeps the first of all parties that no rule of any endpoint's policies
// distinguishes.
func (e *Evaluator) Distinct(parties []*Party) []*Party {
	e.load()
	there := map[*sight]bool{}
	var out []*Party
	for _, p := range parties {
		if s := e.seen(p); !there[s] {
			there[s] = true
			out = append(out, p)
		}
	}
	return out
}
