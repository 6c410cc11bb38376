package index_test

import (
	"fmt"
	"maps"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

func pattern(s string) names.Pattern {
	p, err := names.ParsePattern(s)
	if err != nil {
		panic(err)
	}
	return p
}

func patterns(list ...string) []names.Pattern {
	var out []names.Pattern
	for _, s := range list {
		out = append(out, pattern(s))
	}
	slices.SortFunc(out, names.Pattern.Compare)
	return out
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func egressPolicy(name string, rules ...model.Rule) *model.Policy {
	for i := range rules {
		rules[i].Index = i
	}
	return &model.Policy{
		Ref: ref(model.KindGlobalNetworkPolicy, "", name), Tier: model.TierDefault, Order: 1,
		Selector: selector.Equal("app", "web"), Egress: true, EgressRules: rules,
	}
}

func toDomains(a model.Action, list ...string) model.Rule {
	return model.Rule{Action: a, Match: model.Match{Destination: model.Peer{Domains: patterns(list...)}}}
}

func toSelector(a model.Action, s *selector.Selector) model.Rule {
	return model.Rule{Action: a, Match: model.Match{Destination: model.Peer{Selector: s}}}
}

func namedSet(name, label string, domains ...string) *model.NetworkSet {
	s := set(name, label)
	s.Domains = patterns(domains...)
	return s
}

// tellPatterns says which names have come and gone.
func tellPatterns(d *index.Delta) string {
	return fmt.Sprintf("+%v -%v", d.PatternsAdded, d.PatternsRemoved)
}

func TestDomainsAreSets(t *testing.T) {
	ix := index.New(index.Options{Local: func(n string) bool { return n == localNode }})
	says := &teller{map[*index.Effective]string{}}
	expect := func(what, delta, inUse string) {
		t.Helper()
		d := ix.Flush()
		if got := says.tell(d); got != delta {
			t.Errorf("%s: got\n%s\nwant\n%s", what, got, delta)
		}
		if got := tellPatterns(d); got != inUse {
			t.Errorf("%s: names %s, want %s", what, got, inUse)
		}
	}
	learn := func(p string, added, removed []netip.Addr) {
		ix.ApplyNames([]names.Delta{{Pattern: pattern(p), Added: added, Removed: removed}})
	}
	policy := egressPolicy("out", toDomains(model.Allow, "a.example", "*.b.example"))
	const text = "set domains *.b.example, a.example"
	ix.Upsert(policy)
	expect("a policy that selects nothing local", "", "+[] -[]")
	ix.Upsert(pod("shop", "web", localNode, map[string]string{"app": "web"}, netip.MustParseAddr("10.0.0.1")))
	expect("a policy with names", text+" new\npolicy A: workload egress default out\nPod/shop/web has A at [10.0.0.1]", "+[*.b.example a.example] -[]")
	if got := ix.ByName(); len(got) != 1 || !ix.Effective(got[0]).ByName {
		t.Errorf("by name: %v", got)
	}
	learn("a.example", addrs("192.0.2.1", "2001:db8::1"), nil)
	expect("an answer", text+" +192.0.2.1/32 +2001:db8::1/128", "+[] -[]")
	learn("*.b.example", addrs("192.0.2.1"), nil)
	expect("the address of two names", "", "+[] -[]")
	learn("a.example", nil, addrs("192.0.2.1"))
	expect("one of them leaves", "", "+[] -[]")
	learn("*.b.example", nil, addrs("192.0.2.1"))
	expect("both have left", text+" -192.0.2.1/32", "+[] -[]")
	learn("c.example", addrs("192.0.2.3"), nil)
	expect("a name that no rule speaks of", "", "+[] -[]")
	if got := ix.NamesOf(netip.MustParseAddr("2001:db8::1")); len(got) != 1 || got[0].String() != "a.example" {
		t.Errorf("names of the address: %v", got)
	}
	ix.Upsert(egressPolicy("out", toDomains(model.Allow, "a.example", "c.example")))
	expect("another list knows what is known", "set domains a.example, c.example new +192.0.2.3/32 +2001:db8::1/128\n"+text+" gone\npolicy B: workload egress default out\npolicy A gone\nPod/shop/web has B at [10.0.0.1]", "+[c.example] -[*.b.example]")
	ix.Upsert(egressPolicy("out", toSelector(model.Allow, selector.Equal("app", "db"))))
	expect("no names any more", "set domains a.example, c.example gone\nset app == 'db' new\npolicy C: workload egress default out\npolicy B gone\nPod/shop/web has C at [10.0.0.1]", "+[] -[a.example c.example]")
	if got := ix.ByName(); got != nil {
		t.Errorf("by name: %v", got)
	}
}

func TestNetworkSetsWithNames(t *testing.T) {
	ix := index.New(index.Options{Local: func(n string) bool { return n == localNode }})
	says := &teller{map[*index.Effective]string{}}
	expect := func(what, delta, inUse string) {
		t.Helper()
		d := ix.Flush()
		if got := says.tell(d); got != delta {
			t.Errorf("%s: got\n%s\nwant\n%s", what, got, delta)
		}
		if got := tellPatterns(d); got != inUse {
			t.Errorf("%s: names %s, want %s", what, got, inUse)
		}
	}
	saas := selector.Equal("set", "saas")
	const plain, withNames = "set set == 'saas'", "set set == 'saas' and its allowedEgressDomains"
	ix.Upsert(pod("shop", "web", localNode, map[string]string{"app": "web"}, netip.MustParseAddr("10.0.0.1")))
	ix.Upsert(egressPolicy("out", toSelector(model.Deny, saas), toSelector(model.Allow, saas)))
	ix.Upsert(set("plain", "saas", "198.51.100.0/24"))
	expect("sets without names", plain+" new +198.51.100.0/24\npolicy A: workload egress default out\nPod/shop/web has A at [10.0.0.1]", "+[] -[]")
	ix.ApplyNames([]names.Delta{{Pattern: pattern("a.example"), Added: addrs("192.0.2.1")}})
	ix.Upsert(namedSet("one", "saas", "a.example"))
	expect("one with names: for the rule that allows", withNames+" new +192.0.2.1/32 +198.51.100.0/24\npolicy B: workload egress default out\npolicy A gone\nPod/shop/web has B at [10.0.0.1]", "+[a.example] -[]")
	eff := ix.Effective(ref(model.KindPod, "shop", "web"))
	rules := eff.Egress[0].Policies[0].ResolvedEgress
	if a := netip.MustParseAddr("192.0.2.1"); rules[0].Destination.Selector.Contains(a, 0, 0) || !rules[1].Destination.Selector.Contains(a, 0, 0) || !eff.ByName {
		t.Error("the rule that denies has the names, or the one that allows does not")
	}
	ix.Upsert(namedSet("two", "saas", "a.example", "b.example"))
	expect("two sets, one name in both", "", "+[b.example] -[]")
	ix.ApplyNames([]names.Delta{{Pattern: pattern("b.example"), Added: addrs("192.0.2.1", "192.0.2.2")}})
	expect("an answer", withNames+" +192.0.2.2/32", "+[] -[]")
	ix.Delete(ref(model.KindGlobalNetworkSet, "", "one"))
	expect("one set goes", "", "+[] -[]")
	ix.Upsert(namedSet("two", "saas", "b.example"))
	expect("a name goes from a set", "", "+[] -[a.example]")
	ix.Upsert(namedSet("two", "other", "b.example"))
	expect("the set is not selected any more", withNames+" gone\npolicy C: workload egress default out\npolicy B gone\nPod/shop/web has C at [10.0.0.1]", "+[] -[b.example]")
}

// TestNamesAgainstNaive compares sets by name with what a naive reader makes of the same
// objects and deltas, and the sum of the deltas of sets with their members.
func TestNamesAgainstNaive(t *testing.T) {
	pool := []string{"a.example", "b.example", "*.c.example", "*.d.example"}
	for seed := range int64(150) {
		rng := rand.New(rand.NewSource(seed))
		ix := index.New(index.Options{Local: func(n string) bool { return n == localNode }})
		truth := map[string]map[netip.Addr]bool{}
		sets := map[string]*model.NetworkSet{}
		told := map[string]map[index.Member]bool{}
		inUse := map[names.Pattern]bool{}
		ix.Upsert(pod("shop", "web", localNode, map[string]string{"app": "web"}, netip.MustParseAddr("10.0.0.1")))
		addr := func() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.Intn(5))}) }
		some := func() (out []string) {
			for _, p := range pool {
				if rng.Intn(3) == 0 {
					out = append(out, p)
				}
			}
			return out
		}
		for step := range 120 {
			switch rng.Intn(5) {
			case 0:
				name := fmt.Sprint("s", rng.Intn(3))
				s := namedSet(name, fmt.Sprint("v", rng.Intn(2)), some()...)
				s.Nets = []netip.Prefix{netip.PrefixFrom(addr(), 32)}
				ix.Upsert(s)
				sets[name] = s
			case 1:
				name := fmt.Sprint("s", rng.Intn(3))
				ix.Delete(ref(model.KindGlobalNetworkSet, "", name))
				delete(sets, name)
			case 2:
				var rules []model.Rule
				for range rng.Intn(4) {
					action := model.Action(1 + rng.Intn(3))
					if list := some(); rng.Intn(2) == 0 && list != nil && action != model.Deny {
						rules = append(rules, toDomains(action, list...))
					} else {
						rules = append(rules, toSelector(action, selector.Equal("set", fmt.Sprint("v", rng.Intn(2)))))
					}
				}
				ix.Upsert(egressPolicy(fmt.Sprint("p", rng.Intn(2)), rules...))
			default:
				p := pool[rng.Intn(len(pool))]
				if truth[p] == nil {
					truth[p] = map[netip.Addr]bool{}
				}
				a := addr()
				d := names.Delta{Pattern: pattern(p)}
				if truth[p][a] {
					d.Removed = []netip.Addr{a}
				} else {
					d.Added = []netip.Addr{a}
				}
				truth[p][a] = !truth[p][a]
				ix.ApplyNames([]names.Delta{d})
			}
			if rng.Intn(3) > 0 {
				continue
			}
			d := ix.Flush()
			for _, s := range d.Sets {
				switch {
				case s.Gone:
					delete(told, s.Set.ID())
					continue
				case s.New:
					told[s.Set.ID()] = map[index.Member]bool{}
				}
				for _, m := range s.Added {
					told[s.Set.ID()][m] = true
				}
				for _, m := range s.Removed {
					delete(told[s.Set.ID()], m)
				}
			}
			for _, p := range d.PatternsAdded {
				inUse[p] = true
			}
			for _, p := range d.PatternsRemoved {
				delete(inUse, p)
			}
			want := map[names.Pattern]bool{}
			byName := false
			eff := ix.Effective(ref(model.KindPod, "shop", "web"))
			for _, tier := range eff.Egress {
				for _, p := range tier.Policies {
					for i := range p.ResolvedEgress {
						r := &p.ResolvedEgress[i]
						var known []names.Pattern
						known = append(known, r.Match.Destination.Domains...)
						for _, s := range sets {
							if r.Action != model.Deny && r.Match.Destination.Selector != nil && selector.Equal("set", s.Labels["set"]).Same(r.Match.Destination.Selector) {
								known = append(known, s.Domains...)
							}
						}
						for _, k := range known {
							want[k] = true
						}
						byName = byName || len(known)+len(r.Match.Destination.Domains) > 0
						for b := range 5 {
							a := netip.AddrFrom4([4]byte{192, 0, 2, byte(b)})
							expect := slices.ContainsFunc(known, func(k names.Pattern) bool { return truth[k.String()][a] })
							for _, s := range sets {
								expect = expect || r.Match.Destination.Selector != nil && s.Nets[0].Contains(a) && selector.Equal("set", s.Labels["set"]).Same(r.Match.Destination.Selector)
							}
							got := true
							for _, s := range r.Sets() {
								got = got && s.Contains(a, 0, 0)
							}
							if got != expect {
								t.Fatalf("seed %d step %d: %s: %s is matched: %v, want %v", seed, step, r.Match.Describe(), a, got, expect)
							}
						}
						for _, s := range r.Sets() {
							members := map[index.Member]bool{}
							for _, m := range s.Members() {
								members[m] = true
							}
							if !maps.Equal(members, told[s.ID()]) {
								t.Fatalf("seed %d step %d: set %s: the deltas make %v, the members are %v", seed, step, s, told[s.ID()], members)
							}
						}
					}
				}
			}
			if !maps.Equal(want, inUse) || len(ix.Patterns()) != len(inUse) {
				t.Fatalf("seed %d step %d: names in use %v, want %v", seed, step, inUse, want)
			}
			if byName != eff.ByName {
				t.Fatalf("seed %d step %d: by name: %v, want %v", seed, step, eff.ByName, byName)
			}
		}
	}
}
