package nftables

import (
	"strings"
	"testing"

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
		w.settle()
		for range 25 {
			before := copyOf(w.ruleset)
			ch, s := f.Step(1 + f.Rand.IntN(4))
			w.apply(ch, s)
			sum.steps++
			sum.reformed += reformed(before, w.ruleset)
			for name := range w.ruleset.chains {
				if before.chains[name] != nil && isLinear(before, name) != isLinear(w.ruleset, name) {
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
			p := w.plan()
			if !p.empty() {
				sum.changes++
			}
			for _, e := range p.addElems {
				if strings.HasPrefix(e.set.name, mapClasses) {
					sum.classes++
				}
			}
			p.carryOut(before)
			if got, want := before.String(), w.String(); got != want {
				t.Fatalf("seed %d: the plan leads to\n%s\nwant\n%s", seed, got, want)
			}
			w.settle()
		}
		for key := range w.units {
			switch key[:2] {
			case "t-":
				sum.tables++
				if w.ruleset.sets[key+"-c"] != nil {
					sum.classed++
				}
				if isLinear(w.ruleset, key) {
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
func reformed(a, b *ruleset) (n int) {
	for name := range a.chains {
		for _, form := range []string{"-a", "-c"} {
			if a.sets[name+form] != nil && b.chains[name] != nil && b.sets[name+form] == nil {
				n++
			}
		}
	}
	return n
}

// isLinear reports whether a chain is that of a linear table.
func isLinear(r *ruleset, name string) bool {
	return strings.HasPrefix(name, "t-") && r.sets[name+"-a"] == nil && r.sets[name+"-c"] == nil
}

// copyOf copies a ruleset.
func copyOf(r *ruleset) *ruleset {
	out := newRuleset(inetTable)
	for k, v := range r.chains {
		out.chains[k] = v
	}
	for k, v := range r.counters {
		out.counters[k] = v
	}
	for k, v := range r.sets {
		c := *v
		c.elems = map[string]string{}
		for e, verdict := range v.elems {
			c.elems[e] = verdict
		}
		out.sets[k] = &c
	}
	return out
}

// carryOut does to a ruleset what a plan does to the kernel, and panics where the kernel would refuse.
func (p *plan) carryOut(r *ruleset) {
	must := func(ok bool) {
		if !ok {
			panic("the plan cannot be carried out")
		}
	}
	for _, c := range p.addCounters {
		must(r.counters[c.name] == nil)
		r.counters[c.name] = c
	}
	for _, c := range p.addChains {
		must(r.chains[c.name] == nil)
		r.chains[c.name] = c
	}
	for _, s := range p.addSets {
		must(r.sets[s.name] == nil)
		r.sets[s.name] = s
	}
	for _, e := range p.delElems {
		v, ok := r.sets[e.set.name].elems[e.key]
		must(ok && v == e.verdict)
		delete(r.sets[e.set.name].elems, e.key)
	}
	for _, e := range p.addElems {
		_, ok := r.sets[e.set.name].elems[e.key]
		must(!ok)
		r.sets[e.set.name].elems[e.key] = e.verdict
	}
	for _, c := range p.fillChains {
		must(r.chains[c.name] != nil)
		if r.chains[c.name] = c; len(c.rules) == 0 && c.hook != nil {
			delete(r.chains, c.name) // stays in the kernel, empty
		}
	}
	for _, name := range p.delChains {
		must(r.chains[name] != nil)
		delete(r.chains, name)
	}
	for _, s := range p.delSets {
		must(r.sets[s.name] != nil)
		delete(r.sets, s.name)
	}
	for _, name := range p.delCounters {
		must(r.counters[name] != nil)
		delete(r.counters, name)
	}
	for _, c := range r.chains {
		for _, rule := range c.rules {
			must(rule.text != "")
		}
	}
}
