package reach

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/indexes"
	"github.com/tierwall/tierwall/test/oracle"
)

// seat is a place in a unit.
type seat struct {
	unit *Unit
	node string
}

// seats finds who has an address.
func (m *Map) seats() map[netip.Addr]seat {
	out := map[netip.Addr]seat{}
	for _, list := range [][]*Unit{m.Pods, m.Hosts, m.Outside} {
		for _, u := range list {
			for _, x := range u.members {
				for _, p := range x.parties {
					out[p.Addr] = seat{u, x.parties[0].Node}
				}
			}
		}
	}
	return out
}

// What Between says of two units is what Decide says of each packet between their
// members.
func TestBetweenAgainstSinglePackets(t *testing.T) {
	worlds := uint64(120)
	if testing.Short() {
		worlds = 20
	}
	asked, allowed := 0, 0
	for seed := range worlds {
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 7)), oracle.Config{})
		for range 150 {
			stream.Next()
		}
		ix := indexes.Of(stream.Objects())
		// All pods of a namespace are one workload, so that units are large.
		m := New(ix, Options{Workload: func(r model.Ref) string { return r.Namespace }})
		at := m.seats()
		for _, f := range stream.Flows(300) {
			from, known := at[f.Src]
			to, there := at[f.Dst]
			if !known || !there || f.Src == f.Dst || f.In != (model.Ref{}) || f.Out != (model.Ref{}) || ix.Owner(f.Src) == ix.Owner(f.Dst) && ix.Owner(f.Src) != (model.Ref{}) {
				continue
			}
			if !packets.Family(familyOf(f.Src)).Contains(f) {
				continue
			}
			asked++
			relation := DifferentNodes
			if from.node != "" && from.node == to.node {
				relation = SameNode
			}
			got := false
			for _, w := range m.Between(from.unit, to.unit) {
				if (w.Nodes == AnyNodes || w.Nodes == relation) && (w.Family == 0 || w.Family == familyOf(f.Src)) {
					got = got || w.Traffic.Contains(f)
				}
			}
			want := verdict.Decide(ix, f).Action == model.Allow
			if want {
				allowed++
			}
			if got != want {
				t.Fatalf("seed %d: %+v from %s to %s: got %t, want %t: %+v", seed, f, from.unit.Name, to.unit.Name, got, want, m.Between(from.unit, to.unit))
			}
		}
	}
	if asked < 1000 || allowed < asked/10 || allowed > asked*9/10 {
		t.Errorf("%d flows, of which %d are allowed, tell little", asked, allowed)
	}
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return 4
	}
	return 6
}

func TestUnits(t *testing.T) {
	ix := index.New(index.Options{})
	pod := func(ns, name, app, node string, addrs ...string) {
		e := &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: ns, Name: name}, Node: node, Labels: map[string]string{"app": app}}
		for _, a := range addrs {
			e.Addrs = append(e.Addrs, netip.MustParseAddr(a))
		}
		ix.Upsert(e)
	}
	pod("a", "web-1", "web", "n1", "10.0.0.1", "fd00::1")
	pod("a", "web-2", "web", "n1", "10.0.0.2", "fd00::2")
	pod("a", "old-1", "web", "n1", "10.0.0.3")
	pod("a", "pending", "web", "n1")
	ix.Upsert(&model.Node{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	ix.Flush()
	m := New(ix, Options{Workload: func(r model.Ref) string { return r.Name[:3] }})
	names := ""
	for _, u := range append(append([]*Unit{}, m.Pods...), m.Hosts...) {
		names += u.Name + " "
	}
	if names != "a/old a/web Node/n1 " {
		t.Errorf("got %s", names)
	}
	if got := m.Workload("a/web"); len(got) != 1 || len(got[0].Members) != 2 {
		t.Errorf("got %+v", got)
	}
	if ways := m.Between(m.Pods[0], m.Pods[0]); ways != nil {
		t.Errorf("a single pod with itself: %v", ways)
	}
	if ways := m.Between(m.Pods[1], m.Pods[1]); len(ways) != 1 || !Open(ways, false).Equal(packets.All()) {
		t.Errorf("two pods among each other: %v", ways)
	}
	if u := m.Address(netip.MustParseAddr("10.0.0.2")); u.Name != "Pod/a/web-2 (10.0.0.2)" {
		t.Errorf("got %s", u.Name)
	}
}
