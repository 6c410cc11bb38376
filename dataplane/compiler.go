package dataplane

import (
	"cmp"
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
	// does each of its ranges of ports. -1 means without limit, 0 means DefaultBudget.
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
	opts     Options
	spaces   [2]*space // of the families
	sets     map[string]*setRec
	literals map[string]*setRec
	blocks   map[string]*blockMap
	flat     map[*index.Policy]*policyRec
	tables   map[string]*tableRec
	policies map[*index.Effective]*Compiled
	programs map[string]*programRec
	ends     map[model.Ref]Endpoint

	// numbered are the sets by number; numbers of sets that are gone are given again.
	numbered    []*setRec
	freeNumbers []uint32
	versions    uint64 // of lists of blocks
	// What is new while a Delta is applied.
	freshTables []*tableRec
	// unformed are tables that may be classed now, or not any more.
	unformed map[*tableRec]struct{}
	// charged are the tables that are charged to the node's budget.
	charged       map[*tableRec]struct{}
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
		sets:     map[string]*setRec{},
		literals: map[string]*setRec{},
		blocks:   map[string]*blockMap{},
		flat:     map[*index.Policy]*policyRec{},
		tables:   map[string]*tableRec{},
		policies: map[*index.Effective]*Compiled{},
		programs: map[string]*programRec{},
		ends:     map[model.Ref]Endpoint{},
		unformed: map[*tableRec]struct{}{},
		charged:  map[*tableRec]struct{}{},
	}
	for i, f := range families {
		c.spaces[i] = newSpace(f, func(n uint32) *setRec { return c.numbered[n] }, o.homes)
	}
	return c
}

// Compiled is an effective policy as programs, one for each stage, direction
// and family that has policies, and always one for the endpoint's own stage.
type Compiled struct {
	Effective *index.Effective
	Programs  []StageProgram
}

// StageProgram is a program and what it is for.
type StageProgram struct {
	Stage     model.Stage
	Direction model.Direction
	Program   *Program
}

// Program returns the program of a stage, or nil if the effective policy has none there.
func (c *Compiled) Program(s model.Stage, dir model.Direction, f Family) *Program {
	for _, p := range c.Programs {
		if p.Stage == s && p.Direction == dir && p.Program.Family == f {
			return p.Program
		}
	}
	return nil
}

// Endpoint is a local endpoint and its programs.
type Endpoint struct {
	*index.LocalEndpoint
	Policy *Compiled
}

// Change is what a kernel has to learn. Lists are sorted.
type Change struct {
	// Sets of the core that are new, changed or gone, those among them that no
	// program asks for too (Program.Sets): they only make up tables, and are asked for
	// where these are linear (Table.Rules). Sets of literal blocks are found in the
	// programs that ask for them.
	Sets []SetChange
	// Programs that are new or gone; what is new in tables is in Tables.
	Added, Removed []*Program
	// Tables whose contents changed, new ones among them.
	Tables []TableChange
	// Classes are the addresses whose number in Compiler.Classes changed.
	Classes []ClassChange
	// Endpoints that are new, changed, or gone (Policy is nil).
	Endpoints []EndpointChange
}

// SetChange is the change of one set.
type SetChange struct {
	Set            *Set
	New, Gone      bool
	Added, Removed []index.Member
}

// TableChange is the change of one table. New and gone tables list nothing:
// all of State counts, or nothing of it.
type TableChange struct {
	State     *TableState
	New, Gone bool
	// Addrs whose place changed: to TableState.At, or to nowhere.
	Addrs []netip.Addr
	// Blocks is true if the blocks changed.
	Blocks bool
	// Reformed is true if the table is classed or linear now and was not, or the
	// reverse: all of State counts. A table that is classed and was has in Classes the
	// numbers whose entry may have changed: to TableState.AtClass, or to nothing.
	Reformed bool
	Classes  []uint32
}

// EndpointChange is the change of one endpoint.
type EndpointChange struct {
	Ref model.Ref
	// Before and After; the zero Endpoint where there is none.
	Before, After Endpoint
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
func (c *Compiler) expect(d *index.Delta) {
	most := 0
	for i := range d.Sets {
		most = max(most, len(d.Sets[i].Added))
	}
	c.spaces[0].numbers.expect(most)
}

func (ch *Change) sort() {
	slices.SortFunc(ch.Sets, func(a, b SetChange) int { return cmp.Compare(a.Set.ID, b.Set.ID) })
	byID := func(a, b *Program) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(ch.Added, byID)
	slices.SortFunc(ch.Removed, byID)
	slices.SortFunc(ch.Tables, func(a, b TableChange) int { return cmp.Compare(a.State.Table.ID, b.State.Table.ID) })
	slices.SortFunc(ch.Classes, func(a, b ClassChange) int { return a.Addr.Compare(b.Addr) })
	slices.SortFunc(ch.Endpoints, func(a, b EndpointChange) int { return a.Ref.Compare(b.Ref) })
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

// compile makes the programs of an effective policy.
func (c *Compiler) compile(e *index.Effective, ch *Change) {
	out := &Compiled{Effective: e}
	stages := append(e.Stages(), e.SelfStages()...)
	c.holdPolicies(stages)
	for i := range stages {
		st := &stages[i]
		var v4 *Program
		for _, f := range families {
			pl := c.plan(st, f)
			rec := c.programs[pl.id]
			if rec == nil {
				rec = &programRec{program: c.program(&pl, st, f, v4)}
				c.programs[pl.id] = rec
				ch.Added = append(ch.Added, rec.program)
			}
			rec.refs++
			out.Programs = append(out.Programs, StageProgram{st.Stage, st.Direction, rec.program})
			v4 = rec.program
		}
	}
	c.policies[e] = out
}

// plan is what a program is to be made of, and its ID: there may be an equal one.
type plan struct {
	id       string
	segments []segmentPlan
	def      Leaf
}

type segmentPlan struct {
	lists []*ruleList
	rules digest // of the lists
	table string // ID, if it is to be a table
	end   Leaf
}

// plan looks at one chain for one family.
func (c *Compiler) plan(st *index.StageChain, f Family) plan {
	pl := plan{def: Leaf{Verdict: verdictOf(st.Default)}}
	whole := content("program")
	whole.number(uint64(f))
	for i := range st.Chain {
		t := &st.Chain[i]
		sp := segmentPlan{lists: c.lists(t, st.Direction, f), end: endOf(t, st)}
		var rules content
		for _, l := range sp.lists {
			rules.digest(&l.digest)
		}
		sp.rules = rules.sum()
		if side := peerSide(st.Direction); c.tabled(sp.lists, side) {
			sp.table = tableID(&sp.rules, side, f)
		}
		whole.text(t.Tier.Name)
		whole.flag(sp.table != "")
		whole.digest(&sp.rules)
		whole.leaf(&sp.end)
		pl.segments = append(pl.segments, sp)
	}
	whole.leaf(&pl.def)
	d := whole.sum()
	pl.id = d.id()
	return pl
}

// program makes what is planned. It shares with the program of the other family,
// if there is one already, what is equal.
func (c *Compiler) program(pl *plan, st *index.StageChain, f Family, other *Program) *Program {
	p := &Program{ID: pl.id, Family: f, Default: pl.def}
	for i := range pl.segments {
		sp := &pl.segments[i]
		seg := Segment{Tier: st.Chain[i].Tier.Name, End: sp.end}
		same := other != nil && other.Segments[i].rules == sp.rules
		seg.rules = sp.rules
		switch {
		case sp.table != "" && same:
			seg.Table = c.hold(sp.table, f, func() *Table { return other.Segments[i].Table.called(sp.table) })
		case sp.table != "":
			seg.Table = c.hold(sp.table, f, func() *Table {
				return newTable(sp.table, sp.lists, peerSide(st.Direction), max(c.opts.Linear, 0))
			})
		case same:
			seg.Rules = other.Segments[i].Rules
		default:
			for _, l := range sp.lists {
				for j := range l.rules {
					seg.Rules = append(seg.Rules, l.rules[j].rule())
				}
			}
			seg.Rules = slices.Clip(seg.Rules)
		}
		p.Segments = append(p.Segments, seg)
	}
	p.findSets()
	return p
}

func verdictOf(a model.Action) Verdict {
	switch a {
	case model.Allow:
		return Accept
	case model.Deny:
		return Drop
	}
	return Open
}

// endOf is the end of a tier.
func endOf(t *index.TierChain, st *index.StageChain) Leaf {
	if !t.Enforced || !st.EndOfTier {
		return Leaf{Verdict: Next}
	}
	l := Leaf{Verdict: Next, Origin: Origin{
		Tier: t.Tier.Name, Direction: st.Direction, Rule: model.RuleEndOfTier, Action: t.Tier.DefaultAction,
	}}
	for _, p := range t.Policies {
		if !p.Audit {
			l.Origin.Policy = p.Ref // the last one counts
		}
	}
	if t.Tier.DefaultAction != model.Pass {
		l.Verdict = Drop
	}
	return l
}

// tabled says whether rules are to be a table: if it is too much work to try
// them one by one (Options.Linear), and a table can tell their sets apart.
func (c *Compiler) tabled(lists []*ruleList, side CondKind) bool {
	work, rules := 0, 0
	for _, l := range lists {
		work += l.asked
		rules += len(l.rules)
	}
	if work+rules/8 <= max(c.opts.Linear, 0) {
		return false
	}
	if work <= maxTableSets {
		return true
	}
	seen := map[*Set]bool{}
	for _, l := range lists {
		for i := range l.rules {
			for _, cond := range l.rules[i].conds {
				if cond.Kind == side {
					seen[cond.Set] = true
				}
			}
		}
	}
	return len(seen) <= maxTableSets
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
