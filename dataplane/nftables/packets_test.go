package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
	"github.com/tierwall/tierwall/test/oracle"
)

// packetWorlds is how many worlds TestPackets makes; TIERWALL_WORLDS says otherwise.
func packetWorlds() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("TIERWALL_WORLDS"), 10, 64); err == nil {
		return n
	}
	return 200
}

// TestPackets sends real packets through the nodes of random worlds and holds
// what becomes of them to the core's decision.
func TestPackets(t *testing.T) {
	linear := []int{-1, 2, dataplane.DefaultLinear}
	ctx := context.Background()
	var sum struct{ worlds, probes, unreachable, allowed, denied, classed int }
	reasons := map[string]int{}
	for _, seed := range seeds(t, packetWorlds()) {
		f := newFeed(seed+1000, "", linear[seed%3])
		f.stream = oracle.Random(f.rng, oracle.Config{Policies: 1 + f.rng.IntN(6)})
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
		sum.worlds++
		var flows []model.Flow
		for _, flow := range f.stream.Flows(150) {
			if !sendable(flow, l, f.ix) {
				continue
			}
			// What does not arrive without any policy says nothing of one.
			open, err := l.Probe(ctx, flow, lab.Options{})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if open.Delivered {
				flows = append(flows, flow)
			} else {
				sum.unreachable++
			}
		}
		states := map[string]*dataplane.State{}
		for _, n := range spec.Nodes {
			s, err := program(l, n.Name, f)
			if err != nil {
				t.Fatalf("seed %d, node %s: %v", seed, n.Name, err)
			}
			states[n.Name] = s
			sum.classed += strings.Count(Render(s, Options{}), "\tmap "+mapClasses)
		}
		for _, flow := range flows {
			want := f.ix.Decide(flow)
			got, err := l.Probe(ctx, flow, lab.Options{})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			sum.probes++
			for _, s := range want.Stages {
				reasons[fmt.Sprintf("%s %s %s %s", s.Stage, s.Direction, s.Reason, s.Action)]++
			}
			if want.Action == model.Allow {
				sum.allowed++
			} else {
				sum.denied++
			}
			if got.Delivered != (want.Action == model.Allow) {
				text := ""
				for _, n := range spec.Nodes {
					text += fmt.Sprintf("\n%s:\n%s", n.Name, Render(states[n.Name], Options{}))
				}
				from, _ := l.Owner(flow.Src)
				to, _ := l.Owner(flow.Dst)
				t.Errorf("seed %d (%d nodes): %+v from %s to %s: delivered %v, want %+v\n%s", seed, len(spec.Nodes), flow, from, to, got.Delivered, want, text)
				break
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", sum)
	for _, r := range sortedKeys(reasons) {
		t.Logf("%6d %s", reasons[r], r)
	}
	if sum.worlds > 20 && (sum.allowed < 300 || sum.denied < 300 || sum.classed < 20 || len(reasons) < 25) {
		t.Errorf("the worlds have gone blind: %+v", sum)
	}
}

// program brings a node's kernel to what its own agent would make of the world.
func program(l *lab.Lab, node string, f *feed) (*dataplane.State, error) {
	ix := policy.New(policy.Options{Local: func(n string) bool { return n == node || n == "" && node == lab.DefaultNode }})
	for _, o := range f.stream.Objects() {
		if m, _, _ := convert.Object(o); m != nil {
			ix.Upsert(m)
		}
	}
	c := dataplane.NewCompiler(f.opts)
	c.Apply(ix.Flush())
	s := stateOf(ix, c, node)
	for _, o := range f.stream.Objects() {
		m, _, _ := convert.Object(o)
		e, ok := m.(*model.Endpoint)
		if !ok || e.Host != nil || e.Node == node {
			continue
		}
		for _, a := range e.Addrs {
			if slices.ContainsFunc(s.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
				s.Foreign = append(s.Foreign, a)
			}
		}
	}
	slices.SortFunc(s.Foreign, netip.Addr.Compare)
	return s, l.Do(node, func() error {
		b, err := New(Options{})
		if err != nil {
			return err
		}
		return errors.Join(b.Sync(context.Background(), s), b.same(s))
	})
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
		if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.MustParseAddr("255.255.255.255") || a.Is4() && a.As4()[0] == 0 || a.Is4() && a.As4()[0] >= 224 {
			return false
		}
		place, ok := l.Owner(a)
		owner, node := ix.Owner(a), ix.NodeOf(a)
		switch {
		case owner.Kind == model.KindPod:
			if node != nil {
				return false // a pod with the address of a node
			}
			if place != owner.Namespace+"/"+owner.Name {
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
		case ok:
			return false
		default:
			n := nodeOfBlock(a, ix)
			if n == "" {
				known[source] = false
				continue
			}
			if f.Src == f.Dst || a.Is4() && a.As4()[3] == 255 {
				return false // never leaves its namespace; a bridge's broadcast
			}
			where[source] = n // the lab puts it behind that node
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

func nodeOfBlock(a netip.Addr, ix *policy.Index) string {
	for _, n := range ix.Nodes() {
		if slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return n.Name
		}
	}
	return ""
}
