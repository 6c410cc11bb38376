package index

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// follower keeps what Deltas have reported.
type follower struct {
	sets      map[*Set]map[Member]bool
	effective map[*Effective]bool
	ends      map[model.Ref]EndpointDelta
}

func newFollower() *follower {
	return &follower{map[*Set]map[Member]bool{}, map[*Effective]bool{}, map[model.Ref]EndpointDelta{}}
}

func (f *follower) follow(d *Delta) error {
	for _, s := range d.Sets {
		if known := f.sets[s.Set] != nil; known == s.New {
			return fmt.Errorf("set %s: new %v, gone %v, and it is known: %v", s.Set, s.New, s.Gone, known)
		}
		if s.Gone {
			delete(f.sets, s.Set)
			continue
		}
		if s.New {
			f.sets[s.Set] = map[Member]bool{}
		}
		for _, m := range s.Added {
			f.sets[s.Set][m] = true
		}
		for _, m := range s.Removed {
			delete(f.sets[s.Set], m)
		}
	}
	for _, e := range d.Added {
		f.effective[e] = true
	}
	for _, e := range d.Removed {
		delete(f.effective, e)
	}
	for _, e := range d.Endpoints {
		if f.ends[e.Ref] = e; e.Endpoint == nil {
			delete(f.ends, e.Ref)
		}
	}
	for r, e := range f.ends {
		if e.Effective != nil && !f.effective[e.Effective] {
			return fmt.Errorf("%s has an effective policy that is not there", r)
		}
	}
	for e := range f.effective {
		for _, s := range setsOf(e) {
			if f.sets[s] == nil {
				return fmt.Errorf("set %s is not there", s)
			}
		}
	}
	for s, members := range f.sets {
		if now := s.Members(); len(now) != len(members) || slices.ContainsFunc(now, func(m Member) bool { return !members[m] }) {
			return fmt.Errorf("set %s has %v, reported were %v", s, now, members)
		}
	}
	return nil
}

func setsOf(e *Effective) (out []*Set) {
	for _, st := range append(e.Stages(), e.SelfStages()...) {
		for _, t := range st.Chain {
			for _, p := range t.Policies {
				for _, r := range append(slices.Clone(p.ResolvedIngress), p.ResolvedEgress...) {
					for _, s := range []PeerSets{r.Source, r.Destination} {
						for _, set := range append(append([]*Set{s.Selector, s.NotSelector, s.Service}, s.NamedPorts...), s.NotNamedPorts...) {
							if set != nil {
								out = append(out, set)
							}
						}
					}
				}
			}
		}
	}
	return out
}

// text has all of an effective policy that matters.
func (e *Effective) text() string {
	if e == nil {
		return "none"
	}
	out := fmt.Sprint(e.Host, e.DefaultAction)
	for _, st := range append(e.Stages(), e.SelfStages()...) {
		out += fmt.Sprint(" | ", st.Stage, st.Direction)
		for _, t := range st.Chain {
			out += fmt.Sprint(" ", t.Tier.Name, t.Tier.DefaultAction, t.Tier.Order, t.Enforced)
			for _, p := range t.Policies {
				out += fmt.Sprintf(" %s %p", p.Ref, p.Policy)
			}
		}
	}
	return out
}

// TestParts churns two Indexes alike, one of which does a part of what waits at a time.
// What it tells holds together after each part, endpoints have what they had or
// were to have at some time, and once nothing waits both are equal.
func TestParts(t *testing.T) {
	waited, kept, denied, ahead := 0, 0, 0, 0
	for seed := range int64(100) {
		rng := rand.New(rand.NewSource(seed))
		o := Options{Local: func(node string) bool { return node == "n0" }}
		ix, whole := New(o), New(o)
		f, all := newFollower(), newFollower()
		was := map[model.Ref]map[string]bool{}
		byName := byNameFollower{}
		part := func(p *Part) {
			d := ix.flush(p)
			if err := errors.Join(f.follow(d), byName.follow(ix, d)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := all.follow(whole.Flush()); err != nil {
				t.Fatalf("seed %d, all at once: %v", seed, err)
			}
			for r, e := range all.ends {
				if was[r] == nil {
					was[r] = map[string]bool{"none": true}
				}
				was[r][e.Effective.text()] = true
			}
			late := ix.Late()
			if len(f.ends) != len(all.ends) {
				t.Fatalf("seed %d: %d endpoints, want %d", seed, len(f.ends), len(all.ends))
			}
			for r, e := range f.ends {
				want := all.ends[r]
				switch {
				case !slices.Equal(e.Endpoint.Addrs, want.Endpoint.Addrs):
					t.Fatalf("seed %d: %s has addresses %v, want %v", seed, r, e.Endpoint.Addrs, want.Endpoint.Addrs)
				case e.Effective != ix.Effective(r):
					t.Fatalf("seed %d: %s: the Index says %s, reported was %s", seed, r, ix.Effective(r).text(), e.Effective.text())
				case e.Effective.text() == want.Effective.text():
				case r.Kind == model.KindHostEndpoint || !slices.Contains(late, r.Namespace) && r.Kind != model.KindPodGhost:
					t.Fatalf("seed %d: %s has %s, want %s, and waits for nothing", seed, r, e.Effective.text(), want.Effective.text())
				case !was[r][e.Effective.text()]:
					t.Fatalf("seed %d: %s has %s, which it was never to have", seed, r, e.Effective.text())
				case e.Effective == nil:
					denied++
				default:
					kept++
				}
			}
			for r := range was {
				if _, there := all.ends[r]; !there {
					delete(was, r)
				}
			}
			if len(late) > 0 {
				waited++
			}
			if e, refs := ix.Ahead(); e != nil {
				ahead++
				for _, r := range refs {
					if want := all.ends[r].Effective; want.text() != e.text() || !f.effective[e] {
						t.Fatalf("seed %d: ahead of %s is %s, reported %v, want %s", seed, r, e.text(), f.effective[e], want.text())
					}
				}
			}
		}
		held := rng.Intn(200)
		hold := func(ns string) bool { return ns == "ns0" && held > 0 }
		for range 200 {
			held--
			o := randomObject(rng)
			if e, ok := o.(*model.Endpoint); ok {
				ix.PeerWeight(e)
			}
			if rng.Intn(4) == 0 {
				ix.Delete(o.Key())
				whole.Delete(o.Key())
			} else {
				ix.Upsert(o)
				whole.Upsert(o)
			}
			if rng.Intn(3) == 0 {
				part(&Part{Limit: 1 + rng.Intn(8), Longest: rng.Intn(2) == 0, Ahead: rng.Intn(2) == 0, Ready: rng.Intn(4) == 0, Hold: hold, Whole: func(ns string) bool { return ns == "ns1" && seed%2 == 0 }})
				if seed%2 == 0 && slices.Contains(ix.Late(), "ns1") {
					t.Fatalf("seed %d: what is to be whole waits", seed)
				}
			}
		}
		for i := 0; len(ix.Late()) > 0; i++ {
			if i > 100 {
				t.Fatalf("seed %d: %v waits on", seed, ix.Late())
			}
			part(&Part{Limit: 1, Longest: i%2 == 0, Ahead: seed%3 == 0, Ready: i%3 == 0})
		}
		part(&Part{})
		if len(ix.held)+len(ix.staled) > 0 || len(ix.effectiveRecs) != len(whole.effectiveRecs) || len(ix.usedPolicies) != len(whole.usedPolicies) {
			t.Fatalf("seed %d: left: %d held, %d stale, %d effective policies of %d, %d policies of %d", seed,
				len(ix.held), len(ix.staled), len(ix.effectiveRecs), len(whole.effectiveRecs), len(ix.usedPolicies), len(whole.usedPolicies))
		}
	}
	if ahead == 0 || waited == 0 || kept == 0 || denied == 0 {
		t.Errorf("the worlds have gone blind: %d were built ahead, %d parts left something, %d endpoints had an old policy, %d none", ahead, waited, kept, denied)
	}
}
