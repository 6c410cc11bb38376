package nftables

import (
	"maps"
	"slices"
	"time"
)

// ruleset is what the table holds, by name. Whoever changes it through its
// methods leaves a trace in touched, from which a plan is made.
type ruleset struct {
	chains   map[string]*chain
	sets     map[string]*set
	counters map[string]*counter

	// touched is what has changed since the last plan, with what was there
	// before: nil where there was nothing.
	touchedChains   map[string]*chain
	touchedSets     map[string]*set
	touchedElems    map[string]map[string]*string
	touchedCounters map[string]*counter
}

// chain is a chain and its rules. Immutable once in a ruleset.
type chain struct {
	name    string
	comment string
	hook    *hook // of base chains
	rules   []rule
}

// hook is where a base chain is attached.
type hook struct {
	name     string
	priority int
}

// rule is one rule: what nft reads, and its comment.
type rule struct {
	text    string
	comment string
}

// set is a set, or a map of verdicts or of classes. elems leads from keys
// (keys.go) to verdicts as nft writes them or to the kernel's bytes of classes;
// to nothing in sets.
type set struct {
	name     string
	comment  string
	types    string // of keys, as in "ipv4_addr . inet_proto"
	interval bool
	verdicts bool
	classes  bool
	// timed is how long elements stay; 0: until they are taken out. Timed sets are filled
	// by packets and by Bar, with most elements at a time, and emptied by time: their
	// elements are no part of the ruleset.
	timed time.Duration
	most  uint32
	elems map[string]string
}

// counter is a named counter.
type counter struct {
	name, comment string
}

func newRuleset() *ruleset {
	r := &ruleset{chains: map[string]*chain{}, sets: map[string]*set{}, counters: map[string]*counter{}}
	r.settle()
	return r
}

// settle forgets what was touched.
func (r *ruleset) settle() {
	r.touchedChains, r.touchedSets = map[string]*chain{}, map[string]*set{}
	r.touchedElems, r.touchedCounters = map[string]map[string]*string{}, map[string]*counter{}
}

func touch[T any](touched map[string]*T, name string, before *T) {
	if _, ok := touched[name]; !ok {
		touched[name] = before
	}
}

// putChain adds or replaces a chain.
func (r *ruleset) putChain(c *chain) {
	old := r.chains[c.name]
	if old != nil && old.equal(c) {
		return
	}
	touch(r.touchedChains, c.name, old)
	r.chains[c.name] = c
}

func (r *ruleset) dropChain(name string) {
	if old := r.chains[name]; old != nil {
		touch(r.touchedChains, name, old)
		delete(r.chains, name)
	}
}

// addSet adds a set with its elements. It must not be there.
func (r *ruleset) addSet(s *set) {
	touch(r.touchedSets, s.name, nil)
	if s.elems == nil {
		s.elems = map[string]string{}
	}
	r.sets[s.name] = s
}

func (r *ruleset) dropSet(name string) {
	old := r.sets[name]
	if old == nil {
		return
	}
	for k, before := range r.touchedElems[name] { // what the kernel still holds
		if before == nil {
			delete(old.elems, k)
		} else {
			old.elems[k] = *before
		}
	}
	delete(r.touchedElems, name)
	touch(r.touchedSets, name, old)
	delete(r.sets, name)
}

// putElem gives a set an element, or a map another verdict for a key.
func (r *ruleset) putElem(name, key, verdict string) {
	s := r.sets[name]
	old, was := s.elems[key]
	if was && old == verdict {
		return
	}
	r.touchElem(name, key, old, was)
	s.elems[key] = verdict
}

func (r *ruleset) dropElem(name, key string) {
	s := r.sets[name]
	if old, was := s.elems[key]; was {
		r.touchElem(name, key, old, true)
		delete(s.elems, key)
	}
}

// setElems makes a set hold these elements and no others.
func (r *ruleset) setElems(name string, elems map[string]string) {
	for k := range r.sets[name].elems {
		if _, stays := elems[k]; !stays {
			r.dropElem(name, k)
		}
	}
	for k, v := range elems {
		r.putElem(name, k, v)
	}
}

func (r *ruleset) touchElem(name, key, old string, was bool) {
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

func (r *ruleset) addCounter(c *counter) {
	touch(r.touchedCounters, c.name, r.counters[c.name])
	r.counters[c.name] = c
}

func (r *ruleset) dropCounter(name string) {
	if old := r.counters[name]; old != nil {
		touch(r.touchedCounters, name, old)
		delete(r.counters, name)
	}
}

func (c *chain) equal(o *chain) bool {
	return c.comment == o.comment && (c.hook == nil) == (o.hook == nil) && (c.hook == nil || *c.hook == *o.hook) &&
		slices.Equal(c.rules, o.rules)
}

// sameKind says whether two sets of one name differ at most in their elements.
func (s *set) sameKind(o *set) bool {
	return s.types == o.types && s.interval == o.interval && s.verdicts == o.verdicts && s.classes == o.classes && (s.timed > 0) == (o.timed > 0)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// inherit makes what has changed since another ruleset count as touched, as if
// this one had been made of it.
func (r *ruleset) inherit(old *ruleset) {
	r.settle()
	for name, c := range old.chains {
		touch(r.touchedChains, name, c)
	}
	for name := range r.chains {
		touch(r.touchedChains, name, old.chains[name])
	}
	for name, s := range old.sets {
		touch(r.touchedSets, name, s)
	}
	for name := range r.sets {
		touch(r.touchedSets, name, old.sets[name])
	}
	for name, c := range old.counters {
		touch(r.touchedCounters, name, c)
	}
	for name := range r.counters {
		touch(r.touchedCounters, name, old.counters[name])
	}
}
