package nftables

import (
	"fmt"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/policy/model"
)

// portTable writes rules that look protocol and destination port up: single
// ports in a hash map, ranges in an interval map, and what most of the ranges
// lead to in neither.
func (b *builder) portTable(t *dataplane.PortTable, name string, end *dataplane.Leaf) {
	for i := 0; i < len(t.Entries); {
		p := t.Entries[i].Protocol
		j := i
		for j < len(t.Entries) && t.Entries[j].Protocol == p {
			j++
		}
		entries := t.Entries[i:j]
		i = j
		match := "meta l4proto " + protocol(p)
		other := b.leafChain(&commonest(entries).Leaf, end)
		if p.HasPorts() {
			b.portMaps(entries, fmt.Sprintf("%s-%d", name, p), match, other, end)
		}
		b.add(match+" goto "+other, "")
	}
	b.add("goto "+b.leafChain(&t.Other, end), "other protocols")
}

func (b *builder) portMaps(entries []dataplane.PortEntry, name, match, other string, end *dataplane.Leaf) {
	single := &nft.Set{Name: name + "s", Types: "inet_service", Verdicts: true, Elems: map[string]string{}}
	ranges := &nft.Set{Name: name + "r", Types: "inet_service", Verdicts: true, Interval: true, Elems: map[string]string{}}
	for k := range entries {
		e := &entries[k]
		to := b.leafChain(&e.Leaf, end)
		switch {
		case e.First == e.Last:
			single.Elems[nft.PortKey(e.First)] = "goto " + to
		case to != other:
			ranges.Elems[nft.PortRangeKey(e.First, e.Last)] = "goto " + to
		}
	}
	for _, m := range []*nft.Set{single, ranges} {
		if len(m.Elems) > 0 {
			b.w.ownSet(b.u, m)
			b.add(match+" th dport vmap @"+m.Name, "")
		}
	}
}

// commonest returns an entry with the leaf that most of the ranges have.
func commonest(entries []dataplane.PortEntry) *dataplane.PortEntry {
	count := map[string]int{}
	best, most := 0, 0
	for i := range entries {
		if e := &entries[i]; e.First != e.Last || !e.Protocol.HasPorts() {
			k := leafKey(&e.Leaf)
			if count[k]++; count[k] > most {
				best, most = i, count[k]
			}
		}
	}
	return &entries[best]
}

// leafChain holds the chain of a leaf, to which port tables lead.
func (b *builder) leafChain(l *dataplane.Leaf, end *dataplane.Leaf) string {
	whole := *l
	if l.Verdict == dataplane.Continue {
		if l.Origin != (dataplane.Origin{}) { // a mark of its own
			whole.Before = append(whole.Before[:len(whole.Before):len(whole.Before)], dataplane.Mark{Origin: l.Origin, Log: l.Log})
		}
		whole.Verdict, whole.Origin, whole.Log = end.Verdict, end.Origin, end.Log
	}
	name := "l-" + naming.Hash(leafKey(&whole))
	if b.spare != base.SpareNone && whole.Verdict == dataplane.Drop { // which packets are spared differs by family
		name = "l-" + spared(b.spare, leafKey(&whole), b.family.String())
	}
	return b.u.use(b.w.hold(name, func(u *unit) {
		u.name = name
		sub := builder{w: b.w, u: u, family: b.family, spare: b.spare}
		sub.leaf("", &whole)
		comment := ""
		if whole.Origin.Policy != (model.Ref{}) {
			comment = whole.Origin.String()
		}
		b.w.own(u, &nft.Chain{Name: name, Comment: comment, Rules: sub.rules})
	})).name
}
