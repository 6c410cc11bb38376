package nftables

import (
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/test/worlds"
)

// TestIncremental holds a world that took change by change to one made of the
// last state alone, and what it says it has touched to what has changed.
func TestIncremental(t *testing.T) {
	var sum struct{ steps, tables, classed, linear, reformed, turned, classes, rests, ports, hosts, changes int }
	for _, seed := range worlds.Seeds(t, 150) {
		f := worlds.New(seed, worlds.Options{})
		_, s := f.Step(40)
		w := newWorld(s, Options{}.complete())
		w.Settle()
		for range 25 {
			before := copyOf(w.Ruleset)
			ch, s := f.Step(1 + f.Rand.IntN(4))
			w.apply(ch, s)
			sum.steps++
			sum.reformed += reformed(before, w.Ruleset)
			for name := range w.Ruleset.Chains {
				if before.Chains[name] != nil && isLinear(before, name) != isLinear(w.Ruleset, name) {
					sum.turned++
				}
			}
			fresh := newWorld(s, Options{}.complete())
			if got, want := w.String(), fresh.String(); got != want {
				t.Fatalf("seed %d: by changes\n%s\nfrom scratch\n%s", seed, got, want)
			}
			for key, u := range w.units {
				if v := fresh.units[key]; v == nil || v.refs != u.refs {
					t.Fatalf("seed %d: unit %s has %d users, from scratch %+v", seed, key, u.refs, v)
				}
			}
			p := w.Plan()
			if !p.Empty() {
				sum.changes++
			}
			for _, e := range p.AddElems {
				if strings.HasPrefix(e.Set.Name, mapClasses) {
					sum.classes++
				}
			}
			carryOut(p, before)
			if got, want := before.String(), w.String(); got != want {
				t.Fatalf("seed %d: the plan leads to\n%s\nwant\n%s", seed, got, want)
			}
			w.Settle()
		}
		for key := range w.units {
			switch key[:2] {
			case "t-":
				sum.tables++
				if w.Ruleset.Sets[key+"-c"] != nil {
					sum.classed++
				}
				if isLinear(w.Ruleset, key) {
					sum.linear++
				}
			case "r-":
				sum.rests++
			case "l-":
				sum.ports++
			}
		}
		sum.hosts += len(w.hosts)
	}
	t.Logf("%+v", sum)
	if sum.tables == 0 || sum.classed < 100 || sum.linear < 30 || sum.turned < 20 || sum.reformed < 50 || sum.classes < 100 || sum.rests == 0 || sum.ports == 0 || sum.hosts == 0 || sum.changes == 0 {
		t.Errorf("the worlds have gone blind: %+v", sum)
	}
}

// reformed is how many tables of two rulesets have different forms.
func reformed(a, b *nft.Ruleset) (n int) {
	for name := range a.Chains {
		for _, form := range []string{"-a", "-c"} {
			if a.Sets[name+form] != nil && b.Chains[name] != nil && b.Sets[name+form] == nil {
				n++
			}
		}
	}
	return n
}

// isLinear reports whether a chain is that of a linear table.
func isLinear(r *nft.Ruleset, name string) bool {
	return strings.HasPrefix(name, "t-") && r.Sets[name+"-a"] == nil && r.Sets[name+"-c"] == nil
}

// copyOf copies a ruleset.
func copyOf(r *nft.Ruleset) *nft.Ruleset {
	out := nft.NewRuleset(inetTable)
	for k, v := range r.Chains {
		out.Chains[k] = v
	}
	for k, v := range r.Counters {
		out.Counters[k] = v
	}
	for k, v := range r.Sets {
		c := *v
		c.Elems = map[string]string{}
		for e, verdict := range v.Elems {
			c.Elems[e] = verdict
		}
		out.Sets[k] = &c
	}
	return out
}

// carryOut does to a ruleset what a plan does to the kernel, and panics where the kernel would refuse.
func carryOut(p *nft.Plan, r *nft.Ruleset) {
	must := func(ok bool) {
		if !ok {
			panic("the plan cannot be carried out")
		}
	}
	for _, c := range p.AddCounters {
		must(r.Counters[c.Name] == nil)
		r.Counters[c.Name] = c
	}
	for _, c := range p.AddChains {
		must(r.Chains[c.Name] == nil)
		r.Chains[c.Name] = c
	}
	for _, s := range p.AddSets {
		must(r.Sets[s.Name] == nil)
		r.Sets[s.Name] = s
	}
	for _, e := range p.DelElems {
		v, ok := r.Sets[e.Set.Name].Elems[e.Key]
		must(ok && v == e.Verdict)
		delete(r.Sets[e.Set.Name].Elems, e.Key)
	}
	for _, e := range p.AddElems {
		_, ok := r.Sets[e.Set.Name].Elems[e.Key]
		must(!ok)
		r.Sets[e.Set.Name].Elems[e.Key] = e.Verdict
	}
	for _, c := range p.FillChains {
		must(r.Chains[c.Name] != nil)
		if r.Chains[c.Name] = c; len(c.Rules) == 0 && c.Hook != nil {
			delete(r.Chains, c.Name) // stays in the kernel, empty
		}
	}
	for _, name := range p.DelChains {
		must(r.Chains[name] != nil)
		delete(r.Chains, name)
	}
	for _, s := range p.DelSets {
		must(r.Sets[s.Name] != nil)
		delete(r.Sets, s.Name)
	}
	for _, name := range p.DelCounters {
		must(r.Counters[name] != nil)
		delete(r.Counters, name)
	}
	for _, c := range r.Chains {
		for _, rule := range c.Rules {
			must(rule.Text != "")
		}
	}
}
