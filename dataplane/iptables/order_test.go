package iptables

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/test/worlds"
)

// TestOrder holds changes to their order: sets are made before rules ask for
// them, and destroyed when none does; those that rules ask for all the time are changed before
// rules are, or after a pause.
func TestOrder(t *testing.T) {
	ctx := context.Background()
	inPlace, renewed := 0, 0
	for _, seed := range worlds.Seeds(t, 30) {
		f := worlds.New(seed, worlds.Options{})
		_, s := f.Step(60)
		r := &recording{}
		b := &Backend{opts: Options{}.complete(), kernel: r, litter: map[string]bool{}, alone: true}
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		asked := references(b.have)
		for range 20 {
			r.steps = nil
			before, exists := asked, map[string]bool{}
			for _, set := range b.have.sets {
				exists[set.name] = true
			}
			ch, s := f.Step(1)
			if err := b.Apply(ctx, ch, s); err != nil {
				t.Fatal(err)
			}
			asked = references(b.have)
			made := map[string]bool{}
			restored, settled := false, false
			for _, step := range r.steps {
				verb, rest, _ := strings.Cut(step, " ")
				name, _, _ := strings.Cut(rest, "\n")
				switch verb {
				case "create":
					if before[name] || restored {
						t.Errorf("seed %d: %s, which rules ask for already", seed, step)
					}
					made[name] = true
					renewed++
				case "change":
					inPlace++
					if restored && !settled {
						t.Errorf("seed %d: %s without a pause after the rules", seed, step)
					}
				case "settle":
					settled = true
				case "destroy":
					if asked[name] || before[name] && !restored {
						t.Errorf("seed %d: %s, which rules ask for", seed, step)
					}
				case "restore":
					restored = true
					for _, set := range setsIn(rest) {
						if !before[set] && !made[set] && !exists[set] {
							t.Errorf("seed %d: rules ask for %s, which is not there", seed, set)
						}
					}
				}
			}
		}
	}
	if inPlace == 0 || renewed == 0 {
		t.Errorf("%d sets changed in place, %d made anew", inPlace, renewed)
	}
}

// references are the sets that rules of a ruleset ask for.
func references(rs *ruleset) map[string]bool {
	out := map[string]bool{}
	for _, f := range []familyRules{rs.v4, rs.v6} {
		for _, table := range f {
			for _, rules := range table.chains {
				for _, r := range rules {
					for _, name := range setsIn(r.match) {
						out[name] = true
					}
				}
			}
		}
	}
	return out
}

// setsIn are the sets that rules ask for.
func setsIn(text string) []string {
	var out []string
	words := strings.Fields(text)
	for i, w := range words {
		if w == "--match-set" {
			out = append(out, words[i+1])
		}
	}
	return out
}

// TestRefusal holds the backend to looking at the kernel anew after an error,
// wherever it comes.
func TestRefusal(t *testing.T) {
	ctx := context.Background()
	for _, refuse := range []string{"create", "restore IPv4", "restore IPv6", "destroy"} {
		f := worlds.New(3, worlds.Options{})
		_, s := f.Step(60)
		r := &recording{}
		b := &Backend{opts: Options{}.complete(), kernel: r, litter: map[string]bool{}, alone: true}
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		r.refuse = refuse
		var err error
		for i := 0; i < 50 && err == nil; i++ {
			ch, next := f.Step(1)
			s, err = next, b.Apply(ctx, ch, next)
		}
		if !errors.Is(err, errRefused) || b.have != nil {
			t.Fatalf("%s: %v", refuse, err)
		}
		r.refuse, r.steps = "", nil
		if err := b.Apply(ctx, nil, s); err != nil || !slices.ContainsFunc(r.steps, func(s string) bool { return strings.HasPrefix(s, "restore") }) {
			t.Errorf("%s: afterwards %v, %d steps", refuse, err, len(r.steps))
		}
	}
}
