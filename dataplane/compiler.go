package dataplane

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// Options of a Compiler.
type Options struct {
	// Linear is how much work a segment may be and still be tried rule by rule: a
	// condition on the peer's address counts one, eight rules count one. It is
	// also how many rules the rest of a table may try. -1 means none, 0 means
	// DefaultLinear.
	Linear int
}

// DefaultLinear is where a table begins to pay: a look-up in a set costs some
// 100 ns, the set-up of a connection close to 100 µs; a table holds all members
// of its sets once more.
const DefaultLinear = 12

// Compiler turns the core's deltas into changes of what a kernel should hold.
// What did not change stays the same object. Not safe for concurrent use.
type Compiler struct {
	opts     Options
	sets     map[string]*setRec
	literals map[string]*literalRec
	tables   map[string]*tableRec
	policies map[*policy.Effective]*Compiled
	programs map[string]*programRec
	ends     map[model.Ref]Endpoint
}

type setRec struct {
	set     *Set
	members map[policy.Member]struct{}
	// tables that ask for the set, with its number there.
	tables map[*tableRec]uint16
}

// literalRec counts the programs that ask for a set of literal blocks.
type literalRec struct {
	set  *Set
	refs int
}

type tableRec struct {
	state *TableState
	refs  int
	// blocks of each of the table's sets, by number.
	blocks [][]netip.Prefix
}

type programRec struct {
	program *Program
	refs    int
}

// NewCompiler returns a Compiler that holds nothing.
func NewCompiler(o Options) *Compiler {
	if o.Linear == 0 {
		o.Linear = DefaultLinear
	}
	return &Compiler{
		opts:     o,
		sets:     map[string]*setRec{},
		literals: map[string]*literalRec{},
		tables:   map[string]*tableRec{},
		policies: map[*policy.Effective]*Compiled{},
		programs: map[string]*programRec{},
		ends:     map[model.Ref]Endpoint{},
	}
}

// Compiled is an effective policy as programs, one for each stage, direction
// and family that has policies, and always one for the endpoint's own stage.
type Compiled struct {
	Effective *policy.Effective
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
	*policy.LocalEndpoint
	Policy *Compiled
}

// Change is what a kernel has to learn. Lists are sorted.
type Change struct {
	// Sets of the core that are new, changed or gone, those among them that no
	// program asks for too (Program.Sets): they only make up tables. Sets of
	// literal blocks are found in the programs that ask for them.
	Sets []SetChange
	// Programs that are new or gone; what is new in tables is in Tables.
	Added, Removed []*Program
	// Tables whose contents changed, new ones among them.
	Tables []TableChange
	// Endpoints that are new, changed, or gone (Policy is nil).
	Endpoints []EndpointChange
}

// SetChange is the change of one set.
type SetChange struct {
	Set            *Set
	New, Gone      bool
	Added, Removed []policy.Member
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
}

// EndpointChange is the change of one endpoint.
type EndpointChange struct {
	Ref model.Ref
	// Before and After; the zero Endpoint where there is none.
	Before, After Endpoint
}

// Apply takes what changed in the core and returns what changes in the kernel.
func (c *Compiler) Apply(d *policy.Delta) *Change {
	ch := &Change{}
	touched := map[*tableRec]*TableChange{}
	for i := range d.Sets {
		if sd := &d.Sets[i]; !sd.Gone {
			ch.Sets = append(ch.Sets, c.applySet(sd, touched))
		}
	}
	newTables := map[*tableRec]bool{}
	for _, e := range d.Added {
		c.compile(e, ch, newTables)
	}
	for i := range d.Endpoints {
		c.applyEndpoint(&d.Endpoints[i], ch)
	}
	for _, e := range d.Removed {
		c.release(e, ch, newTables)
	}
	for i := range d.Sets {
		if sd := &d.Sets[i]; sd.Gone {
			if rec := c.sets[sd.Set.ID()]; rec != nil {
				ch.Sets = append(ch.Sets, SetChange{Set: rec.set, Gone: true})
				delete(c.sets, sd.Set.ID())
			}
		}
	}
	for rec, tc := range touched {
		if rec.refs > 0 && !newTables[rec] && (tc.Blocks || len(tc.Addrs) > 0) {
			slices.SortFunc(tc.Addrs, netip.Addr.Compare)
			tc.Addrs = slices.Compact(tc.Addrs)
			ch.Tables = append(ch.Tables, *tc)
		}
	}
	for rec := range newTables {
		if rec.refs > 0 {
			ch.Tables = append(ch.Tables, TableChange{State: rec.state, New: true})
		}
	}
	ch.sort()
	return ch
}

func (ch *Change) sort() {
	slices.SortFunc(ch.Sets, func(a, b SetChange) int { return cmp.Compare(a.Set.ID, b.Set.ID) })
	byID := func(a, b *Program) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(ch.Added, byID)
	slices.SortFunc(ch.Removed, byID)
	slices.SortFunc(ch.Tables, func(a, b TableChange) int { return cmp.Compare(a.State.Table.ID, b.State.Table.ID) })
	slices.SortFunc(ch.Endpoints, func(a, b EndpointChange) int { return a.Ref.Compare(b.Ref) })
}

// applySet takes a set's members and tells the tables that ask for it.
func (c *Compiler) applySet(sd *policy.SetDelta, touched map[*tableRec]*TableChange) SetChange {
	set := c.set(sd.Set)
	rec := c.sets[set.ID]
	if rec.members == nil {
		rec.members = make(map[policy.Member]struct{}, len(sd.Added))
	}
	for _, m := range sd.Added {
		rec.members[m] = struct{}{}
	}
	for _, m := range sd.Removed {
		delete(rec.members, m)
	}
	for t, n := range rec.tables {
		tc := touched[t]
		if tc == nil {
			tc = &TableChange{State: t.state}
			touched[t] = tc
		}
		t.update(n, sd, tc)
	}
	return SetChange{Set: set, New: sd.New, Added: sd.Added, Removed: sd.Removed}
}

// update changes a table by what changed in its set of a number.
func (t *tableRec) update(n uint16, sd *policy.SetDelta, tc *TableChange) {
	s := t.state
	blocks := false
	touch := func(m policy.Member, in bool) {
		a := m.Prefix.Addr()
		switch {
		case FamilyOf(a) != s.family:
		case !m.Prefix.IsSingleIP():
			blocks = true
			if in {
				t.blocks[n] = append(t.blocks[n], m.Prefix)
			} else if i := slices.Index(t.blocks[n], m.Prefix); i >= 0 {
				t.blocks[n] = slices.Delete(t.blocks[n], i, i+1)
			}
		default:
			s.number(a, n, in)
			if s.place(a) {
				tc.Addrs = append(tc.Addrs, a)
			}
		}
	}
	for _, m := range sd.Removed {
		touch(m, false)
	}
	for _, m := range sd.Added {
		touch(m, true)
	}
	if blocks {
		s.setBlocks(t.blocks)
		tc.Blocks = true
		for a := range s.single {
			if s.place(a) {
				tc.Addrs = append(tc.Addrs, a)
			}
		}
	}
}

// number notes that an address is, or is not, itself a member of the table's set n.
func (s *TableState) number(a netip.Addr, n uint16, in bool) {
	own := s.single[a]
	i, found := slices.BinarySearch(own, n)
	switch {
	case in && !found:
		s.single[a] = slices.Insert(slices.Clone(own), i, n)
	case !in && found:
		if own = slices.Delete(slices.Clone(own), i, i+1); len(own) == 0 {
			delete(s.single, a)
		} else {
			s.single[a] = own
		}
	}
}

func (c *Compiler) applyEndpoint(d *policy.EndpointDelta, ch *Change) {
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
func (c *Compiler) compile(e *policy.Effective, ch *Change, newTables map[*tableRec]bool) {
	out := &Compiled{Effective: e}
	for _, st := range e.Stages() {
		for _, f := range []Family{IPv4, IPv6} {
			p := c.program(&st, f)
			rec := c.programs[p.ID]
			if rec == nil {
				rec = &programRec{program: p}
				c.programs[p.ID] = rec
				ch.Added = append(ch.Added, p)
				c.countLiterals(p, 1)
				for i := range p.Segments {
					if t := p.Segments[i].Table; t != nil {
						p.Segments[i].Table = c.hold(t, f, newTables)
					}
				}
			}
			rec.refs++
			out.Programs = append(out.Programs, StageProgram{st.Stage, st.Direction, rec.program})
		}
	}
	c.policies[e] = out
}

// program compiles one chain for one family.
func (c *Compiler) program(st *policy.StageChain, f Family) *Program {
	side := CondSrcAddr
	if st.Direction == model.Egress {
		side = CondDstAddr
	}
	p := &Program{Family: f, Default: Leaf{Verdict: verdictOf(st.Default)}}
	for i := range st.Chain {
		t := &st.Chain[i]
		seg := Segment{Tier: t.Tier.Name, End: endOf(t, st), Rules: c.flatten(t, st.Direction, f)}
		if sets, work := workOf(seg.Rules, side); work > max(c.opts.Linear, 0) && sets <= maxTableSets {
			seg.Table, seg.Rules = newTable(seg.Rules, side, max(c.opts.Linear, 0)), nil
			seg.Table.ID = tableID(seg.Table, f)
		}
		p.Segments = append(p.Segments, seg)
	}
	p.ID = hashID("program " + p.String())
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
func endOf(t *policy.TierChain, st *policy.StageChain) Leaf {
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

// workOf counts the distinct sets that rules ask for on a side, and how much
// work it is to try the rules one by one (Options.Linear).
func workOf(rules []Rule, side CondKind) (sets, work int) {
	seen := map[*Set]bool{}
	for i := range rules {
		for _, c := range rules[i].Conds {
			if c.Kind == side {
				seen[c.Set] = true
				work++
			}
		}
	}
	return len(seen), work + len(rules)/8
}

// hold keeps a table and what it holds, shared by all programs that have an equal one.
func (c *Compiler) hold(t *Table, f Family, newTables map[*tableRec]bool) *Table {
	rec := c.tables[t.ID]
	if rec == nil {
		rec = &tableRec{blocks: make([][]netip.Prefix, len(t.Sets)), state: &TableState{
			Table: t, family: f, addrs: map[netip.Addr]*Rest{}, single: map[netip.Addr][]uint16{}, rests: map[string]*Rest{},
		}}
		c.tables[t.ID] = rec
		newTables[rec] = true
		for n, set := range t.Sets {
			c.fill(rec, uint16(n), set)
		}
		rec.state.setBlocks(rec.blocks)
		for a := range rec.state.single {
			rec.state.place(a)
		}
	}
	rec.refs++
	return rec.state.Table
}

// fill puts the members of a set into a new table.
func (c *Compiler) fill(t *tableRec, n uint16, set *Set) {
	add := func(p netip.Prefix) {
		switch {
		case FamilyOf(p.Addr()) != t.state.family:
		case p.IsSingleIP():
			t.state.number(p.Addr(), n, true)
		default:
			t.blocks[n] = append(t.blocks[n], p)
		}
	}
	for _, p := range set.Nets {
		add(p)
	}
	if set.Nets != nil {
		return
	}
	rec := c.sets[set.ID]
	for m := range rec.members {
		add(m.Prefix)
	}
	if rec.tables == nil {
		rec.tables = map[*tableRec]uint16{}
	}
	rec.tables[t] = n
}

// release forgets an effective policy that no endpoint has any more.
func (c *Compiler) release(e *policy.Effective, ch *Change, newTables map[*tableRec]bool) {
	compiled := c.policies[e]
	if compiled == nil {
		return
	}
	delete(c.policies, e)
	for _, sp := range compiled.Programs {
		rec := c.programs[sp.Program.ID]
		if rec.refs--; rec.refs > 0 {
			continue
		}
		delete(c.programs, sp.Program.ID)
		ch.Removed = append(ch.Removed, rec.program)
		c.countLiterals(rec.program, -1)
		for i := range rec.program.Segments {
			if t := rec.program.Segments[i].Table; t != nil {
				c.drop(c.tables[t.ID], ch, newTables)
			}
		}
	}
}

// countLiterals counts a program's literal sets, and forgets those that none asks for.
func (c *Compiler) countLiterals(p *Program, n int) {
	count := func(s *Set) {
		if rec := c.literals[s.ID]; rec != nil && !s.IsCore() {
			if rec.refs += n; rec.refs == 0 {
				delete(c.literals, s.ID)
			}
		}
	}
	for i := range p.Segments {
		for j := range p.Segments[i].Rules {
			for _, cond := range p.Segments[i].Rules[j].Conds {
				if cond.Set != nil {
					count(cond.Set)
				}
			}
		}
		if t := p.Segments[i].Table; t != nil {
			t.eachSet(count)
		}
	}
}

func (c *Compiler) drop(t *tableRec, ch *Change, newTables map[*tableRec]bool) {
	if t.refs--; t.refs > 0 {
		return
	}
	delete(c.tables, t.state.Table.ID)
	for _, set := range t.state.Table.Sets {
		if rec := c.sets[set.ID]; rec != nil {
			delete(rec.tables, t)
		}
	}
	if !newTables[t] {
		ch.Tables = append(ch.Tables, TableChange{State: t.state, Gone: true})
	}
}
