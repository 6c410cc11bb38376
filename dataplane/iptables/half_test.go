package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/test/worlds"
)

// ways that a packet may take through a node.
var ways = [][][2]string{
	{{tableRaw, "PREROUTING"}, {tableMangle, "PREROUTING"}, {tableFilter, "FORWARD"}},
	{{tableRaw, "PREROUTING"}, {tableMangle, "PREROUTING"}, {tableFilter, "INPUT"}},
	{{tableRaw, "OUTPUT"}, {tableFilter, "OUTPUT"}},
}

// probe is a packet and the way that it takes.
type probe struct {
	packet packet
	way    int
}

func (p *probe) String() string {
	return fmt.Sprintf("%+v by way %d", p.packet, p.way)
}

func probes(f *worlds.Feed, s *dataplane.State, n int) []probe {
	var out []probe
	for _, flow := range f.Stream.Flows(n) {
		local := slices.Contains(s.NodeAddrs, flow.Src)
		for _, e := range s.Compiled.Endpoints() {
			local = local || e.Host != nil && slices.Contains(e.Addrs, flow.Src)
		}
		if dataplane.FamilyOf(flow.Src) != dataplane.FamilyOf(flow.Dst) || !(elem{net: netip.PrefixFrom(flow.Src, flow.Src.BitLen())}).inKernel() {
			continue
		}
		for way := range ways {
			out = append(out, probe{packet{Flow: flow, local: local, iface: "eth0", out: "eth0"}, way})
		}
	}
	return out
}

// TestNeverHalfOpen looks at the rules and sets after each step of each change
// that packets can see, and holds them to letting pass only what passes before the
// change or after it.
func TestNeverHalfOpen(t *testing.T) {
	ctx := context.Background()
	steps, between, changed := 0, 0, 0
	var stats Stats
	for _, seed := range worlds.Seeds(t, 60) {
		f := worlds.New(seed, worlds.Options{})
		_, s := f.Step(60)
		k := newSimulated()
		b := &Backend{opts: Options{}.complete(), kernel: k, litter: map[string]bool{}, alone: true}
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		for n := range 15 {
			ch, s := f.Step([]int{1, 1, 2, 5}[n%4])
			list := probes(f, s, 25)
			old := make([]bool, len(list))
			for i := range list {
				old[i] = k.passes(list[i].packet, ways[list[i].way]...)
			}
			early := map[int]string{} // passes though it did not, and after which step
			k.look = func(step string) {
				steps++
				for i := range list {
					if !old[i] && early[i] == "" && k.passes(list[i].packet, ways[list[i].way]...) {
						early[i] = step
					}
				}
			}
			if err := b.Apply(ctx, ch, s); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, n, err)
			}
			k.look = func(string) {}
			for i := range list {
				after := k.passes(list[i].packet, ways[list[i].way]...)
				if after != old[i] {
					changed++
				}
				if early[i] != "" && !after {
					t.Fatalf("seed %d, step %d: %s passes after %s, but neither before the change nor after it", seed, n, &list[i], early[i])
				}
				between += min(len(early[i]), 1)
			}
		}
		stats.ElementsChanged += b.stats.ElementsChanged
		stats.SetsCreated += b.stats.SetsCreated
	}
	t.Logf("%d steps, %d packets that were let in, %d that changed; %+v", steps, between, changed, stats)
	if !worlds.One() && (between < 20 || changed < 50 || stats.ElementsChanged < 50) {
		t.Errorf("the worlds have gone blind")
	}
}
