package nftables

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/policy/model"
)

// world is the ruleset that a State asks for, and what is needed to keep it so
// change by change.
type world struct {
	shared
	opts  Options
	state *dataplane.State
	shape base.Shape
	// tables are the rendered forms of each table: one for each way in which its
	// segment ends.
	tables map[string]map[*unit]*tableUnit
	core   map[string]map[*unit]dataplane.Family // kernel sets of core sets
	// reshaped are units whose users are to be written anew in this change: sets
	// whose kernel sets have come or gone, tables that are classed now, or not any more.
	reshaped map[*unit]struct{}

	// owners are the local pods that have an address, the one that counts first;
	// nearly always one.
	owners map[netip.Addr][]model.Ref
	pods   map[model.Ref]dataplane.Endpoint
	hosts  map[model.Ref]dataplane.Endpoint
	// base is the base chains and what they alone use, inputs is what they were
	// rendered for.
	base   *unit
	inputs dataplane.Inputs
	// linked are the programs that the maps by interface lead to; see links.go.
	linked []*unit
	// bridge is the table of family bridge; nil where no local pod is a port of one.
	bridge *nft.Ruleset
}

// shared is a ruleset of units, which are counted by their users.
type shared struct {
	*nft.Ruleset
	units   map[string]*unit
	origins map[string]dataplane.Origin // by counter
	renamed bool                        // origins have changed since they were last published
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
	// over reports that the unit's users are about to let go of it; nil: never.
	over func() bool
	// make writes the unit. Those whose rules depend on what other units are like
	// are written anew when that changes; see remake.
	make func(*unit)
	// users are the units whose rules depend on what this one is like, with how
	// many times they use it.
	users map[*unit]int
}

func newWorld(s *dataplane.State, o Options) *world {
	w := &world{
		shared: shared{Ruleset: nft.NewRuleset(inetTable), units: map[string]*unit{}, origins: map[string]dataplane.Origin{}, renamed: true},
		opts:   o.with(s), state: s, shape: base.ShapeOf(s),
		tables: map[string]map[*unit]*tableUnit{},
		core:   map[string]map[*unit]dataplane.Family{}, reshaped: map[*unit]struct{}{},
		owners: map[netip.Addr][]model.Ref{},
		pods:   map[model.Ref]dataplane.Endpoint{},
		hosts:  map[model.Ref]dataplane.Endpoint{},
	}
	w.addBase()
	for _, e := range s.Compiled.Endpoints() {
		w.endpoint(e.Ref, dataplane.Endpoint{}, e)
	}
	w.renderBase()
	w.placeLinks()
	return w
}

// apply brings the world from the state before a change to that after it.
func (w *world) apply(ch *dataplane.Change, s *dataplane.State) {
	w.state = s
	hosts := false
	// Endpoints hold the programs that they will have before any lets go of those
	// that it had, so that what both use is never taken for gone.
	for i := range ch.Endpoints {
		w.holdPrograms(ch.Endpoints[i].After)
	}
	w.changeClasses(ch.Classes)
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
	w.remakeUsers()
	for i := range ch.Endpoints {
		ec := &ch.Endpoints[i]
		w.endpoint(ec.Ref, ec.Before, ec.After)
		hosts = hosts || isHost(ec.Before) || isHost(ec.After)
	}
	stale := !w.inputs.Of(w.state)
	if hosts || stale {
		w.renderBase()
	}
	if stale || len(ch.Endpoints) > 0 {
		w.placeLinks()
	}
	for i := range ch.Endpoints {
		w.releasePrograms(ch.Endpoints[i].After)
	}
}

// hold returns the unit of a key, made by make if it is not there, and counts
// the user.
func (w *shared) hold(key string, make func(*unit)) *unit {
	u := w.units[key]
	if u == nil {
		u = &unit{key: key, make: make}
		w.units[key] = u
		make(u)
	}
	u.refs++
	return u
}

func (w *shared) release(u *unit) {
	if u.refs--; u.refs > 0 {
		return
	}
	delete(w.units, u.key)
	if u.gone != nil {
		u.gone()
	}
	for _, c := range u.chains {
		w.DropChain(c)
	}
	for _, s := range u.kernel {
		w.DropSet(s)
	}
	for _, c := range u.counters {
		w.DropCounter(c)
		delete(w.origins, c)
		w.renamed = true
	}
	w.letGo(u, u.uses)
}

// letGo ends a unit's use of others.
func (w *shared) letGo(u *unit, uses []*unit) {
	for _, v := range uses {
		if n := v.users[u]; n > 1 {
			v.users[u] = n - 1
		} else {
			delete(v.users, u)
		}
		w.release(v)
	}
}

// remake writes a unit of chains anew, with the same name.
func (w *shared) remake(u *unit) {
	chains, uses := u.chains, u.uses
	u.chains, u.uses = nil, nil
	u.make(u)
	for _, c := range chains {
		if !slices.Contains(u.chains, c) {
			w.DropChain(c)
		}
	}
	w.letGo(u, uses)
}

// own gives a unit a chain.
func (w *shared) own(u *unit, c *nft.Chain) {
	u.chains = append(u.chains, c.Name)
	w.PutChain(c)
}

// ownSet gives a unit a set.
func (w *shared) ownSet(u *unit, s *nft.Set) {
	u.kernel = append(u.kernel, s.Name)
	w.AddSet(s)
}

// use makes a unit a user of another that was just held.
func (u *unit) use(v *unit) *unit {
	u.uses = append(u.uses, v)
	return v
}

// ask makes a unit a user of another that was just held, to be written anew when
// what that one is like changes.
func (u *unit) ask(v *unit) *unit {
	if v.users == nil {
		v.users = map[*unit]int{}
	}
	v.users[u]++
	return u.use(v)
}

// count returns the name of the counter of a rule, for a user.
func (w *shared) count(u *unit, o dataplane.Origin) string {
	name := "c-" + naming.Hash(o.String())
	return u.use(w.hold(name, func(v *unit) {
		v.name = name
		v.counters = []string{name}
		w.origins[name] = o
		w.renamed = true
		w.AddCounter(&nft.Counter{Name: name, Comment: o.String()})
	})).name
}

func isHost(e dataplane.Endpoint) bool { return e.LocalEndpoint != nil && e.Host != nil }
