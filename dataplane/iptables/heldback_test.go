package iptables

import (
	"context"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/worlds"
)

// early is what the tables before routing say of a packet.
func (k *simulated) early(p packet, way [][2]string) (mark uint32, passes bool) {
	tables := k.families[dataplane.FamilyOf(p.Src)]
	for _, h := range way[:len(way)-1] {
		if chains := tables[h[0]]; chains != nil && !run(chains, h[1], &p) {
			return 0, false
		}
	}
	return p.mark, true
}

// TestNoneHeldBack looks at the rules after each step of each change, and holds them to
// letting pass what passes before the change and after it, if only rules change and the
// tables before routing say the same of it.
func TestNoneHeldBack(t *testing.T) {
	ctx := context.Background()
	looked, twice, closed := 0, 0, 0
	for _, seed := range worlds.Seeds(t, 60) {
		f := worlds.New(seed+900, worlds.Options{})
		_, s := f.Step(60)
		k := newSimulated()
		b := &Backend{opts: Options{}.complete(), kernel: k, litter: map[string]bool{}, alone: true}
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		for n := range 15 {
			ch, s := f.Step([]int{1, 1, 2, 5}[n%4])
			list := probes(f, s, 25)
			type said struct {
				mark          uint32
				early, passes bool
			}
			say := func(p *probe) (out said) {
				out.mark, out.early = k.early(p.packet, ways[p.way])
				out.passes = k.passes(p.packet, ways[p.way]...)
				return out
			}
			old := make([]said, len(list))
			for i := range list {
				old[i] = say(&list[i])
			}
			lost := map[int]string{}
			var steps []string
			k.look = func(step string) {
				steps = append(steps, step)
				for i := range list {
					if old[i].passes && lost[i] == "" && !k.passes(list[i].packet, ways[list[i].way]...) {
						lost[i] = step
					}
				}
			}
			before := b.stats.ElementsChanged
			if err := b.Apply(ctx, ch, s); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, n, err)
			}
			k.look = func(string) {}
			if b.stats.ElementsChanged != before {
				continue
			}
			tables := map[string]int{}
			for _, step := range steps {
				tables[step]++
			}
			for _, f := range []string{"IPv4 ", "IPv6 "} {
				switch {
				case tables[f+tableFilter] < 2:
				case tables[f+tableRaw] > 0 && tables[f+tableMangle] > 0:
					closed++
				default:
					twice++
				}
			}
			for i := range list {
				looked++
				f := dataplane.FamilyOf(list[i].packet.Src).String() + " "
				if tables[f+tableRaw] > 0 && tables[f+tableMangle] > 0 {
					continue // what both of them may judge is held back
				}
				if lost[i] != "" && say(&list[i]) == old[i] {
					t.Fatalf("seed %d, step %d: %s is dropped after %s, though it passes before the change and after it", seed, n, &list[i], lost[i])
				}
			}
		}
	}
	t.Logf("%d packets; %d times the filter table was there twice, %d times it was closed", looked, twice, closed)
	if !worlds.One() && (looked < 1000 || twice < 20) {
		t.Errorf("the worlds have gone blind")
	}
}

// Where a change could not be made, the next one has no chains stand side by side.
func TestSingleAfterFailure(t *testing.T) {
	objects := func(port uint16) *ruleset {
		rule := model.Rule{Action: model.Allow, Match: model.Match{Protocol: model.TCP, Destination: model.Peer{Ports: []model.Port{{First: port, Last: port}}}}}
		return generate(stateOf(append(node(), hostEndpoint("*"),
			hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward, p.IngressRules = true, true, []model.Rule{rule} }),
			hostPolicy("host", func(p *model.Policy) { p.IngressRules = []model.Rule{rule} }))), Options{}.complete(), firstVersion)
	}
	have := objects(1000).shape()
	for _, single := range []bool{false, true} {
		want := objects(1001)
		want.single = single
		text := planOf(have, want).restore[dataplane.IPv4]
		if got := strings.Contains(text, again+" "); got == single {
			t.Errorf("single %v:\n%s", single, text)
		}
	}
}
