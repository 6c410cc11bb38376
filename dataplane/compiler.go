package dataplane

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Options of a Compiler.
type Options struct {
	// Linear is how much work a segment may be and still be tried rule by rule: a
	// condition on the peer's address counts one, eight rules count one. It is
	// also how many rules the rest of a table may try. -1 means none, 0 means
	// DefaultLinear.
	Linear int
	// Classed is how many addresses make a table classed (TableState.Classed). -1
	// means that none is, 0 means DefaultClassed.
	Classed int
	// Budget is how large a table may get and not be linear (TableState.Linear),
	// besides Spread times what its own rules come to: a rule that remains for some
	// peers counts one for each combination of sets that these peers are in, and so
	// does each of its ranges of ports. A table whose rules have fewer than 256
	// conditions on the peer's address has as much less of it. -1 means without limit,
	// 0 means DefaultBudget.
	Budget int
	// Spread is how often a table may hold its own rules besides its Budget. -1 means
	// never, 0 means DefaultSpread.
	Spread int
	// NodeBudget is how large all tables together may get, those left out that are no
	// larger than Spread times their own rules and a sixteenth of the Budget. Beyond it
	// the largest tables are linear. -1 means without limit, 0 means
	// DefaultNodeBudget.
	NodeBudget int
	// homes is how many numbers classes first ask for; 0: all that there are.
	homes uint32
}

// DefaultLinear is where a table begins to pay: a look-up in a set costs some
// 100 ns, the set-up of a connection close to 100 µs; a table holds all members
// of its sets once more.
const DefaultLinear = 12

// Compiler turns the core's deltas into changes of what a kernel should hold.
// What did not change stays the same object. Not safe for concurrent use.
//
// What costs is done once for all that need it: a policy's rules are compiled
// once for all effective policies that it is part of (rulelist.go), addresses
// are sorted by the sets that they are in once for all tables (space.go), and
// what remains of a table's rules for an address follows from that (table.go).
type Compiler struct {
	opts Options
	setStore
	flat     map[*index.Policy]*policyRec
	tables   map[string]*tableRec
	policies map[*index.Effective]*Compiled
	programs map[string]*programRec
	ends     map[model.Ref]Endpoint

	// What is new while a Delta is applied.
	freshTables []*tableRec
	// unformed are tables that may be classed now, or not any more.
	unformed map[*tableRec]struct{}
	// charged are the tables that are charged to the node's budget.
	charged map[*tableRec]struct{}
	// waiting are linear tables that need not be, and are until there is room (refill).
	waiting map[*tableRec]struct{}
}

// setStore are the sets that programs and tables ask for, and what addresses and blocks
// they have.
type setStore struct {
	spaces   [2]*space // of the families
	sets     map[string]*setRec
	literals map[string]*setRec
	blocks   map[string]*blockMap
	// numbered are the sets by number; numbers of sets that are gone are given again.
	numbered    []*setRec
	freeNumbers []uint32
	versions    uint64 // of lists of blocks
	// freshLiterals are those that are new while a Delta is applied.
	freshLiterals []*setRec
	// ranged is what lists of ports come to, while a list of rules is made.
	ranged map[portList]portRanges
}

type programRec struct {
	program *Program
	refs    int
}

// families by familyIndex.
var families = [2]Family{IPv4, IPv6}

// NewCompiler returns a Compiler that holds nothing.
func NewCompiler(o Options) *Compiler {
	if o.Linear == 0 {
		o.Linear = DefaultLinear
	}
	if o.Classed == 0 {
		o.Classed = DefaultClassed
	}
	if o.Budget == 0 {
		o.Budget = DefaultBudget
	}
	if o.NodeBudget == 0 {
		o.NodeBudget = DefaultNodeBudget
	}
	if o.Spread == 0 {
		o.Spread = DefaultSpread
	}
	c := &Compiler{
		opts:     o,
		setStore: setStore{sets: map[string]*setRec{}, literals: map[string]*setRec{}, blocks: map[string]*blockMap{}},
		flat:     map[*index.Policy]*policyRec{},
		tables:   map[string]*tableRec{},
		policies: map[*index.Effective]*Compiled{},
		programs: map[string]*programRec{},
		ends:     map[model.Ref]Endpoint{},
		unformed: map[*tableRec]struct{}{},
		charged:  map[*tableRec]struct{}{},
		waiting:  map[*tableRec]struct{}{},
	}
	for i, f := range families {
		c.spaces[i] = newSpace(f, func(n uint32) *setRec { return c.numbered[n] }, o.homes)
	}
	return c
}

// Apply takes what changed in the core and returns what changes in the kernel.
func (c *Compiler) Apply(d *index.Delta) *Change {
	ch := &Change{}
	var members changes
	c.expect(d)
	for i := range d.Sets {
		if sd := &d.Sets[i]; !sd.Gone {
			ch.Sets = append(ch.Sets, c.applySet(sd, &members))
		}
	}
	touched, pending := c.retable(&members)
	for _, e := range d.Added {
		c.compile(e, ch)
	}
	c.measureTables()
	for i := range d.Endpoints {
		c.applyEndpoint(&d.Endpoints[i], ch)
	}
	c.release(d, ch)
	for _, t := range c.freshTables {
		pending[t] = struct{}{}
	}
	c.admit(pending, touched)
	c.classify(ch, touched)
	for rec, tc := range touched {
		if rec.refs > 0 {
			slices.SortFunc(tc.Addrs, netip.Addr.Compare)
			slices.Sort(tc.Classes)
			tc.Classes = slices.Compact(tc.Classes)
			ch.Tables = append(ch.Tables, *tc)
		}
	}
	for _, rec := range c.freshTables {
		if rec.fresh = false; rec.refs > 0 {
			ch.Tables = append(ch.Tables, TableChange{State: rec.state, New: true})
		}
	}
	c.freshTables = nil
	ch.sort()
	return ch
}

// classify decides which tables are classed, and numbers classes.
func (c *Compiler) classify(ch *Change, touched map[*tableRec]*TableChange) {
	for _, t := range c.freshTables {
		c.unformed[t] = struct{}{}
	}
	c.form(c.unformed, touched)
	clear(c.unformed)
	for f := range c.spaces {
		ch.Classes = append(ch.Classes, c.regroup(f, touched)...)
	}
}

// expect makes room for the addresses of the first delta.
func (c *setStore) expect(d *index.Delta) {
	most := 0
	for i := range d.Sets {
		most = max(most, len(d.Sets[i].Added))
	}
	c.spaces[0].numbers.expect(most)
}

func (c *Compiler) applyEndpoint(d *index.EndpointDelta, ch *Change) {
	ec := EndpointChange{Ref: d.Ref, Before: c.ends[d.Ref]}
	if d.Endpoint == nil {
		delete(c.ends, d.Ref)
	} else {
		ec.After = Endpoint{d.Endpoint, c.policies[d.Effective]}
		c.ends[d.Ref] = ec.After
	}
	ch.Endpoints = append(ch.Endpoints, ec)
}

// release forgets the effective policies that no endpoint has any more, the sets
// that are gone, and what only they needed.
func (c *Compiler) release(d *index.Delta, out *Change) {
	var members changes
	var chains []index.StageChain
	for _, e := range d.Removed {
		compiled := c.policies[e]
		if compiled == nil {
			continue
		}
		delete(c.policies, e)
		chains = append(append(chains, e.Stages()...), e.SelfStages()...)
		for _, sp := range compiled.Programs {
			c.releaseProgram(sp.Program, out, &members)
		}
	}
	var gone []*setRec
	for i := range d.Sets {
		if sd := &d.Sets[i]; sd.Gone {
			if rec := c.sets[sd.Set.ID()]; rec != nil {
				out.Sets = append(out.Sets, SetChange{Set: rec.set, Gone: true})
				c.empty(rec, &members)
				delete(c.sets, sd.Set.ID())
				gone = append(gone, rec)
			}
		}
	}
	c.settle(&members)
	for _, rec := range gone {
		c.freeNumber(rec)
	}
	c.releasePolicies(chains)
}

func (c *Compiler) releaseProgram(p *Program, out *Change, members *changes) {
	rec := c.programs[p.ID]
	if rec.refs--; rec.refs > 0 {
		return
	}
	delete(c.programs, p.ID)
	out.Removed = append(out.Removed, rec.program)
	for i := range rec.program.Segments {
		if t := rec.program.Segments[i].Table; t != nil {
			c.drop(c.tables[t.ID], out, members)
		}
	}
}
