package iptables

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
	"github.com/tierwall/tierwall/test/oracle"
)

// packetWorlds is how many worlds TestPackets makes for each variant;
// TIERWALL_WORLDS says otherwise.
func packetWorlds() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("TIERWALL_WORLDS"), 10, 64); err == nil {
		return n
	}
	return 40
}

// TestPackets sends real packets through the nodes of random worlds and holds
// what becomes of them to the core's decision.
func TestPackets(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) {
			sum := packetSum{reasons: map[string]int{}}
			for _, seed := range seeds(t, packetWorlds()) {
				if sum.world(t, v, seed); t.Failed() {
					return
				}
			}
			t.Logf("%d worlds, %d probes, %d unreachable, %d allowed, %d denied", sum.worlds, sum.probes, sum.unreachable, sum.allowed, sum.denied)
			for _, r := range sortedKeys(sum.reasons) {
				t.Logf("%6d %s", sum.reasons[r], r)
			}
			if sum.worlds > 20 && (sum.allowed < 100 || sum.denied < 100 || len(sum.reasons) < 20) {
				t.Errorf("the worlds have gone blind")
			}
		})
	}
}

type packetSum struct {
	worlds, probes, unreachable, allowed, denied int
	reasons                                      map[string]int
}

func (sum *packetSum) world(t *testing.T, v Variant, seed uint64) {
	ctx := context.Background()
	f := newFeed(seed+1000, func(rng *rand.Rand) oracle.Config { return oracle.Config{Policies: 1 + rng.IntN(6)} })
	_, _ = f.step(60)
	spec, _, err := lab.FromObjects(f.stream.Objects())
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if seed%2 == 0 {
		spec.Network = lab.Bridge
	}
	l, err := lab.New(ctx, spec)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	sum.worlds++
	flows := sum.open(t, l, f)
	for _, n := range spec.Nodes {
		s := f.nodeState(n.Name, linears[seed%3])
		if err := l.Do(n.Name, func() error {
			b, err := New(Options{Variant: v})
			if err != nil {
				return err
			}
			return errors.Join(b.Sync(ctx, s), b.same(s))
		}); err != nil {
			t.Fatalf("seed %d, node %s: %v", seed, n.Name, err)
		}
	}
	for _, flow := range flows {
		want := f.ix.Decide(flow)
		got, err := l.Probe(ctx, flow, lab.Options{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sum.probes++
		for _, s := range want.Stages {
			sum.reasons[fmt.Sprintf("%s %s %s %s", s.Stage, s.Direction, s.Reason, s.Action)]++
		}
		if want.Action == model.Allow {
			sum.allowed++
		} else {
			sum.denied++
		}
		if got.Delivered != (want.Action == model.Allow) {
			text := ""
			for _, n := range spec.Nodes {
				text += fmt.Sprintf("\n%s:\n%s", n.Name, Render(f.nodeState(n.Name, linears[seed%3]), Options{}))
			}
			from, _ := l.Owner(flow.Src)
			to, _ := l.Owner(flow.Dst)
			t.Errorf("seed %d (%d nodes): %+v from %s to %s: delivered %v, want %+v\n%s", seed, len(spec.Nodes), flow, from, to, got.Delivered, want, text)
			return
		}
	}
}

// open returns flows that arrive without any policy: others say nothing of one.
func (sum *packetSum) open(t *testing.T, l *lab.Lab, f *feed) []model.Flow {
	var flows []model.Flow
	for _, flow := range f.stream.Flows(150) {
		if !sendable(flow, l, f.ix) {
			continue
		}
		open, err := l.Probe(context.Background(), flow, lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if open.Delivered {
			flows = append(flows, flow)
		} else {
			sum.unreachable++
		}
	}
	return flows
}

// sendable says whether the lab can send a flow, and the core and the kernels
// speak of the same thing.
func sendable(f model.Flow, l *lab.Lab, ix *policy.Index) bool {
	known := map[bool]bool{}
	where := map[bool]string{}
	for _, source := range []bool{true, false} {
		a := f.Dst
		if source {
			a = f.Src
		}
		if !ordinary(a) {
			return false
		}
		place, ok := l.Owner(a)
		owner, node := ix.Owner(a), ix.NodeOf(a)
		switch {
		case owner.Kind == model.KindPod:
			if node != nil || place != owner.Namespace+"/"+owner.Name {
				return false
			}
			e, _ := ix.Endpoint(owner)
			where[source] = e.Node
		case node != nil:
			if place != node.Name {
				return false
			}
			where[source] = node.Name
		case owner != model.Ref{}: // an address that only a host endpoint says
			e, _ := ix.Endpoint(owner)
			if place != e.Node {
				return false
			}
			where[source] = e.Node
		case ok, inPodBlock(a, ix):
			return false
		default:
			continue
		}
		known[source] = true
	}
	// The kernel knows a host endpoint without addresses by its interface, the core not at all.
	for _, r := range ix.Endpoints() {
		if e, _ := ix.Endpoint(r); e.Host != nil && len(e.Addrs) == 0 && e.Host.Interface != "*" && (e.Node == where[true] || e.Node == where[false]) {
			return false
		}
	}
	return known[true] || known[false]
}

// ordinary says whether an address can be a sender's and a receiver's.
func ordinary(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return false
	}
	return !a.Is4() || a.As4()[0] != 0 && a.As4()[0] < 224
}

func inPodBlock(a netip.Addr, ix *policy.Index) bool {
	return slices.ContainsFunc(ix.Nodes(), func(n *model.Node) bool {
		return slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}
