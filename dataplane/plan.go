package dataplane

import (
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// How an effective policy becomes programs.

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

// tabled reports whether rules are to be a table: if it is too much work to try
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
