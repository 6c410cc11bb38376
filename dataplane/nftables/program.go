package nftables

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
)

// How a program runs. A stage jumps to it. Everything in it that drops, drops;
// a packet that comes back has been accepted, or the program leaves it open.
// What is accepted in a chain below the program's own carries the accept mark
// on its way back through the chains in between, because one return leads one
// jump back only. Continuing by goto instead would work too, but the kernel
// checks every path through the chains when they change: paths that go on from
// each leaf multiply, paths that come back add up.

// programName is the name of a program's chain. One that only counts some packets
// is another chain.
func programName(p *dataplane.Program, spare base.Sparing) string {
	if spare == base.SpareNone {
		return "p-" + p.ID
	}
	return "p-" + p.ID + "-" + string(spare)
}

// program holds the unit of a program.
func (w *world) program(p *dataplane.Program, spare base.Sparing) *unit {
	return w.hold("program "+programName(p, spare), func(u *unit) {
		u.name = programName(p, spare)
		// What is accepted in the program's own chain need not say so by the mark,
		// unless its caller asks for more than that the packet has come back.
		own := p.Default.Verdict != dataplane.Open // the mark is the program's own affair
		b := builder{w: w, u: u, family: p.Family, spare: spare, unmarked: own}
		name := u.name
		if own && marks(p) {
			name += "-m"
			w.own(u, &nft.Chain{Name: u.name, Rules: []nft.Rule{
				line(clearMark(w.opts.Accepted), ""), line("jump "+name, ""), line(w.opts.accepted()+" "+clearMark(w.opts.Accepted), ""),
			}})
		}
		var tiers []string
		open := p.Default.Verdict != dataplane.Drop // the end of the program is like a return
	segments:
		for i := range p.Segments {
			s := &p.Segments[i]
			tiers = append(tiers, s.Tier)
			last := i == len(p.Segments)-1 && open
			switch {
			case s.Table != nil:
				t := u.ask(w.table(s.Table, s.End, p.Family, spare))
				b.add("jump "+t.name, "tier "+s.Tier+", by peer")
				if w.tables[s.Table.ID][t].classed {
					b.add(unclass, "")
				}
				if !last {
					b.add(w.opts.accepted()+" return", "")
				}
			case !last && has(s.Rules, dataplane.Next):
				sub := builder{w: w, u: u, family: p.Family, spare: spare}
				sub.segment(s)
				tier := fmt.Sprintf("%s-%d", u.name, i)
				w.own(u, &nft.Chain{Name: tier, Comment: "tier " + s.Tier, Rules: sub.rules})
				b.add("jump "+tier, "tier "+s.Tier)
				if has(s.Rules, dataplane.Accept) {
					b.add(w.opts.accepted()+" return", "")
				}
			default:
				b.segment(s)
				if s.End.Verdict == dataplane.Drop {
					open = true // nothing comes this far
					break segments
				}
			}
		}
		if !open {
			b.countSpared("")
			b.add("counter "+b.drop(), "no tier decides: default Deny")
		}
		w.own(u, &nft.Chain{Name: name, Comment: strings.TrimSpace(p.Family.String() + " " + strings.Join(tiers, ", ")), Rules: b.rules})
	})
}

// marks reports whether a program has chains of its own below the first, which set the mark.
func marks(p *dataplane.Program) bool {
	for i := range p.Segments {
		s := &p.Segments[i]
		last := i == len(p.Segments)-1 && p.Default.Verdict != dataplane.Drop
		if s.Table != nil || !last && has(s.Rules, dataplane.Next) {
			return true
		}
	}
	return false
}

func has(rules []dataplane.Rule, v dataplane.Verdict) bool {
	for i := range rules {
		if rules[i].Leaf.Verdict == v {
			return true
		}
	}
	return false
}

// builder writes the rules of a chain, and holds what they refer to for a unit.
type builder struct {
	w      *world
	u      *unit
	family dataplane.Family
	spare  base.Sparing
	rules  []nft.Rule
	// portSets are the sets of the lists of ports that rules of the chain share.
	portSets map[*dataplane.PortRange]string
	// unmarked is true where an accept is no more than a return.
	unmarked bool
}

func (b *builder) add(text, comment string) {
	b.rules = append(b.rules, line(text, comment))
}

// segment writes a list of rules and its end.
func (b *builder) segment(s *dataplane.Segment) {
	for i := range s.Rules {
		b.rule(&s.Rules[i])
	}
	b.end(&s.End)
}

// end writes the end of a tier, which does not go on to the next rule only if it drops.
func (b *builder) end(l *dataplane.Leaf) {
	if l.Origin == (dataplane.Origin{}) && l.Verdict != dataplane.Drop {
		return
	}
	end := *l
	if end.Verdict != dataplane.Drop {
		end.Verdict = dataplane.Continue
	}
	b.leaf("", &end)
}

// rule writes a rule: several where nftables needs more than one to say the same.
func (b *builder) rule(r *dataplane.Rule) {
	for _, m := range b.matches(r.Conds, r.Leaf.Verdict == dataplane.Continue) {
		b.leaf(m, &r.Leaf)
	}
}

// leaf writes what happens to packets that match.
func (b *builder) leaf(match string, l *dataplane.Leaf) {
	for _, m := range l.Before {
		b.write(match, m.Origin, m.Log, "")
	}
	verdict := ""
	switch l.Verdict {
	case dataplane.Accept:
		verdict = b.accept()
	case dataplane.Drop:
		b.countSpared(match)
		verdict = b.drop()
	case dataplane.Next, dataplane.Open:
		verdict = "return"
	}
	b.write(match, l.Origin, l.Log, verdict)
}

// drop is what denies a packet. Only what is denied anyway meets the rules of a sample.
func (b *builder) drop() string {
	if !b.w.opts.sampleDenied {
		return "drop"
	}
	return "goto " + b.u.use(b.w.hold("denied", func(u *unit) {
		u.name = "denied"
		b.w.own(u, &nft.Chain{Name: u.name, Comment: "what policies deny", Rules: []nft.Rule{
			line(fmt.Sprintf("limit rate %d/second burst %d packets log prefix %q group %d", dataplane.DeniedRate, dataplane.DeniedBurst, dataplane.DeniedPrefix, dataplane.DeniedGroup), ""),
			line("drop", ""),
		}})
	})).name
}

// accept is what ends a program for a packet that may go on.
func (b *builder) accept() string {
	if b.unmarked {
		return "return"
	}
	return b.w.opts.accept() + " return"
}

// countSpared has packets count for a guard, and go on as if they were accepted,
// that the next rule would drop.
func (b *builder) countSpared(match string) {
	r := baseRenderer{world: b.w}
	for _, s := range b.spare.Spared(b.family) {
		for _, m := range r.matches(s.If, b.family) {
			b.add(strings.TrimSpace(m+" "+match)+" counter name "+b.w.guardCount(b.u, s.Guard, true)+" "+b.accept(), "counted only")
		}
	}
}

func (b *builder) write(match string, o dataplane.Origin, log bool, verdict string) {
	var parts []string
	if match != "" {
		parts = append(parts, match)
	}
	comment := ""
	if o != (dataplane.Origin{}) {
		name := b.w.count(b.u, o)
		comment = o.String()
		parts = append(parts, "counter name "+name)
		if log {
			parts = append(parts, fmt.Sprintf("log prefix %q group %d", naming.Plain(name+" "+comment, maxPrefix), b.w.opts.LogGroup))
		}
	}
	if verdict != "" {
		parts = append(parts, verdict)
	}
	if len(parts) > 0 && !(len(parts) == 1 && match != "") {
		b.add(strings.Join(parts, " "), comment)
	}
}

// maxPrefix is what the kernel takes as a log prefix.
const maxPrefix = 120
