package nftables

import (
	"net/netip"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// world is the ruleset that a State asks for, and what is needed to keep it so
// change by change.
type world struct {
	*ruleset
	opts  Options
	state *dataplane.State
	units map[string]*unit
	// tables are the rendered forms of each table: one for each way in which its
	// segment ends. byRest holds the rests of a rendered table.
	tables  map[string]map[*unit]*tableUnit
	core    map[string]map[*unit]dataplane.Family // kernel sets of core sets
	origins map[string]dataplane.Origin           // by counter

	// owners are the local pods that have an address, the one that counts first;
	// nearly always one.
	owners map[netip.Addr][]model.Ref
	pods   map[model.Ref]dataplane.Endpoint
	hosts  map[model.Ref]dataplane.Endpoint
	// base is the base chains and what they alone use, told is what they were
	// rendered for.
	base *unit
	told told
}

// unit is something of the ruleset that several users share: it comes with the
// first and goes with the last.
type unit struct {
	key      string
	refs     int
	name     string // of what users refer to
	chains   []string
	kernel   []string // sets
	counters []string
	uses     []*unit
	gone     func()
}

func newWorld(s *dataplane.State, o Options) *world {
	w := &world{
		ruleset: newRuleset(), opts: o, state: s,
		units:   map[string]*unit{},
		tables:  map[string]map[*unit]*tableUnit{},
		core:    map[string]map[*unit]dataplane.Family{},
		origins: map[string]dataplane.Origin{},
		owners:  map[netip.Addr][]model.Ref{},
		pods:    map[model.Ref]dataplane.Endpoint{},
		hosts:   map[model.Ref]dataplane.Endpoint{},
	}
	w.addBase()
	for _, e := range s.Compiled.Endpoints() {
		w.endpoint(e.Ref, dataplane.Endpoint{}, e)
	}
	w.renderBase()
	return w
}

// apply brings the world from the state before a change to that after it.
func (w *world) apply(ch *dataplane.Change, s *dataplane.State) {
	w.state = s
	hosts := false
	// New endpoints hold their programs before old ones let go of theirs, so that
	// what both use is never taken for gone.
	var keep []*unit
	for _, p := range ch.Added {
		keep = append(keep, w.program(p))
	}
	for i := range ch.Tables {
		if tc := &ch.Tables[i]; !tc.New && !tc.Gone {
			w.changeTable(tc)
		}
	}
	for i := range ch.Sets {
		if sc := &ch.Sets[i]; !sc.Gone {
			w.changeSet(sc)
		}
	}
	for i := range ch.Endpoints {
		ec := &ch.Endpoints[i]
		w.endpoint(ec.Ref, ec.Before, ec.After)
		hosts = hosts || isHost(ec.Before) || isHost(ec.After)
	}
	if hosts || w.stale() {
		w.renderBase()
	}
	for _, u := range keep {
		w.release(u)
	}
}

// hold returns the unit of a key, made by make if it is not there, and counts
// the user.
func (w *world) hold(key string, make func(*unit)) *unit {
	u := w.units[key]
	if u == nil {
		u = &unit{key: key}
		w.units[key] = u
		make(u)
	}
	u.refs++
	return u
}

func (w *world) release(u *unit) {
	if u.refs--; u.refs > 0 {
		return
	}
	delete(w.units, u.key)
	if u.gone != nil {
		u.gone()
	}
	for _, c := range u.chains {
		w.dropChain(c)
	}
	for _, s := range u.kernel {
		w.dropSet(s)
	}
	for _, c := range u.counters {
		w.dropCounter(c)
		delete(w.origins, c)
	}
	for _, v := range u.uses {
		w.release(v)
	}
}

// own gives a unit a chain.
func (w *world) own(u *unit, c *chain) {
	u.chains = append(u.chains, c.name)
	w.putChain(c)
}

// ownSet gives a unit a set.
func (w *world) ownSet(u *unit, s *set) {
	u.kernel = append(u.kernel, s.name)
	w.addSet(s)
}

// use makes a unit a user of another that was just held.
func (u *unit) use(v *unit) *unit {
	u.uses = append(u.uses, v)
	return v
}

// count returns the name of the counter of a rule, for a user.
func (w *world) count(u *unit, o dataplane.Origin) string {
	name := "c-" + hash(o.String())
	return u.use(w.hold(name, func(v *unit) {
		v.name = name
		v.counters = []string{name}
		w.origins[name] = o
		w.addCounter(&counter{name: name, comment: o.String()})
	})).name
}

func isHost(e dataplane.Endpoint) bool { return e.LocalEndpoint != nil && e.Host != nil }
