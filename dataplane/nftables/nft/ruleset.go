package nft

import (
	"maps"
	"slices"
	"time"
)

// ruleset is what the table holds, by name. Whoever changes it through its
// methods leaves a trace in touched, from which a plan is made.
type Ruleset struct {
	table    Table
	Chains   map[string]*Chain
	Sets     map[string]*Set
	Counters map[string]*Counter

	// touched is what has changed since the last plan, with what was there
	// before: nil where there was nothing.
	touchedChains   map[string]*Chain
	touchedSets     map[string]*Set
	touchedElems    map[string]map[string]*string
	touchedCounters map[string]*Counter
}

// chain is a chain and its rules. Immutable once in a ruleset.
type Chain struct {
	Name    string
	Comment string
	Hook    *Hook // of base chains
	Rules   []Rule
}

// hook is where a base chain is attached.
type Hook struct {
	Name     string
	Priority int
}

// rule is one rule: what nft reads, and its comment.
type Rule struct {
	Text    string
	Comment string
}

// set is a set, or a map of verdicts or of classes. elems leads from keys
// (keys.go) to verdicts as nft writes them or to the kernel's bytes of classes;
// to nothing in sets.
type Set struct {
	Name     string
	Comment  string
	Types    string // of keys, as in "ipv4_addr . inet_proto"
	Interval bool
	Verdicts bool
	Classes  bool
	// timeout is not 0 where elements go by themselves so long after they were last
	// put; packets may put some, and size is how many there may be. Such elements are
	// no part of a ruleset.
	Timeout time.Duration
	Size    uint32
	Elems   map[string]string
}

// counter is a named counter.
type Counter struct {
	Name, Comment string
}

func NewRuleset(t Table) *Ruleset {
	r := &Ruleset{table: t, Chains: map[string]*Chain{}, Sets: map[string]*Set{}, Counters: map[string]*Counter{}}
	r.Settle()
	return r
}

// settle forgets what was touched.
func (r *Ruleset) Settle() {
	r.touchedChains, r.touchedSets = map[string]*Chain{}, map[string]*Set{}
	r.touchedElems, r.touchedCounters = map[string]map[string]*string{}, map[string]*Counter{}
}

func touch[T any](touched map[string]*T, name string, before *T) {
	if _, ok := touched[name]; !ok {
		touched[name] = before
	}
}

// putChain adds or replaces a chain.
func (r *Ruleset) PutChain(c *Chain) {
	old := r.Chains[c.Name]
	if old != nil && old.equal(c) {
		return
	}
	touch(r.touchedChains, c.Name, old)
	r.Chains[c.Name] = c
}

func (r *Ruleset) DropChain(name string) {
	if old := r.Chains[name]; old != nil {
		touch(r.touchedChains, name, old)
		delete(r.Chains, name)
	}
}

// addSet adds a set with its elements. It must not be there.
func (r *Ruleset) AddSet(s *Set) {
	touch(r.touchedSets, s.Name, nil)
	if s.Elems == nil {
		s.Elems = map[string]string{}
	}
	r.Sets[s.Name] = s
}

func (r *Ruleset) DropSet(name string) {
	old := r.Sets[name]
	if old == nil {
		return
	}
	for k, before := range r.touchedElems[name] { // what the kernel still holds
		if before == nil {
			delete(old.Elems, k)
		} else {
			old.Elems[k] = *before
		}
	}
	delete(r.touchedElems, name)
	touch(r.touchedSets, name, old)
	delete(r.Sets, name)
}

// putElem gives a set an element, or a map another verdict for a key.
func (r *Ruleset) PutElem(name, key, verdict string) {
	s := r.Sets[name]
	old, was := s.Elems[key]
	if was && old == verdict {
		return
	}
	r.touchElem(name, key, old, was)
	s.Elems[key] = verdict
}

func (r *Ruleset) DropElem(name, key string) {
	s := r.Sets[name]
	if old, was := s.Elems[key]; was {
		r.touchElem(name, key, old, true)
		delete(s.Elems, key)
	}
}

// setElems makes a set hold these elements and no others.
func (r *Ruleset) SetElems(name string, elems map[string]string) {
	for k := range r.Sets[name].Elems {
		if _, stays := elems[k]; !stays {
			r.DropElem(name, k)
		}
	}
	for k, v := range elems {
		r.PutElem(name, k, v)
	}
}

func (r *Ruleset) touchElem(name, key, old string, was bool) {
	elems := r.touchedElems[name]
	if elems == nil {
		elems = map[string]*string{}
		r.touchedElems[name] = elems
	}
	var before *string
	if was {
		before = &old
	}
	if _, ok := elems[key]; !ok {
		elems[key] = before
	}
}

func (r *Ruleset) AddCounter(c *Counter) {
	touch(r.touchedCounters, c.Name, r.Counters[c.Name])
	r.Counters[c.Name] = c
}

func (r *Ruleset) DropCounter(name string) {
	if old := r.Counters[name]; old != nil {
		touch(r.touchedCounters, name, old)
		delete(r.Counters, name)
	}
}

func (c *Chain) equal(o *Chain) bool {
	return c.Comment == o.Comment && (c.Hook == nil) == (o.Hook == nil) && (c.Hook == nil || *c.Hook == *o.Hook) &&
		slices.Equal(c.Rules, o.Rules)
}

// sameKind says whether two sets of one name differ at most in their elements.
func (s *Set) sameKind(o *Set) bool {
	return s.Types == o.Types && s.Interval == o.Interval && s.Verdicts == o.Verdicts && s.Classes == o.Classes && s.timed() == o.timed()
}

// timed reports whether elements of the set go by time.
func (s *Set) timed() bool { return s.Timeout > 0 }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// inherit makes what has changed since another ruleset count as touched, as if
// this one had been made of it.
func (r *Ruleset) Inherit(old *Ruleset) {
	r.Settle()
	for name, c := range old.Chains {
		touch(r.touchedChains, name, c)
	}
	for name := range r.Chains {
		touch(r.touchedChains, name, old.Chains[name])
	}
	for name, s := range old.Sets {
		touch(r.touchedSets, name, s)
	}
	for name := range r.Sets {
		touch(r.touchedSets, name, old.Sets[name])
	}
	for name, c := range old.Counters {
		touch(r.touchedCounters, name, c)
	}
	for name := range r.Counters {
		touch(r.touchedCounters, name, old.Counters[name])
	}
}
