package iptables

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
)

// How a program runs. A stage jumps to it (-j). What drops, drops; what comes
// back has been accepted, or the program leaves it open. An accept sets a bit of
// the packet's mark and comes back; chains between it and the program are left
// by looking at the bit. A rule leads to its origin's chain by -g, which comes
// back to where the chain of the rule was jumped to from; rules that do not
// decide lead there by -j and go on.

// program returns the chain of a program. One that only counts some packets is
// another chain.
func (g *generator) program(p *dataplane.Program, spare base.Sparing) string {
	name := chainPrefix + "p-" + p.ID
	if spare != base.SpareNone {
		name += "-" + string(spare)
	}
	if _, ok := g.t.chains[name]; ok {
		return name
	}
	key := pieceKey{p, spare}
	made := g.memory.pieces[key]
	if made == nil || !made.named(g.name) {
		made = g.newPart(key, name)
		g.memory.pieces[key] = made
	}
	maps.Copy(g.t.chains, made.chains)
	maps.Copy(g.t.tags, made.tags)
	maps.Copy(g.rs.sets, made.sets)
	maps.Copy(g.rs.origins, made.origins)
	for key, e := range made.effects {
		g.note(key, e, false)
	}
	for _, chain := range sortedKeys(made.denials) {
		g.denial(chain, made.denials[chain], spare)
	}
	return name
}

// denial writes the chain of a leaf that drops all but the packets that are spared:
// they count for a guard and go back as if they were accepted.
func (g *generator) denial(chain string, l dataplane.Leaf, spare base.Sparing) {
	g.once(chain, func() []rule {
		var rules []rule
		for _, s := range spare.Spared(g.family) {
			for _, m := range g.tests(s.If, opens) {
				rules = append(rules, rule{m, "-g " + g.sparedChain(s.Guard), "counted only"})
			}
		}
		if l.Origin == (dataplane.Origin{}) {
			return append(rules, rule{"", "-j DROP", ""})
		}
		return append(rules, rule{"", "-g " + g.origin(&l), ""})
	})
}

// named says whether the sets of a piece are still called so.
func (p *piece) named(name namer) bool {
	for _, s := range p.sets {
		if name(s) != s.name {
			return false
		}
	}
	return true
}

// newPart writes a program.
func (g *generator) newPart(k pieceKey, name string) *piece {
	p := k.program
	in, t := newRuleset(), newTable()
	made := &piece{chains: t.chains, tags: t.tags, sets: in.sets, effects: in.effects, origins: in.origins, denials: map[string]dataplane.Leaf{}, asks: map[string]bool{}}
	for i := range p.Segments {
		if s := p.Segments[i].Table; s != nil {
			made.holds = append(made.holds, s.ID)
		}
	}
	inner := programWriter{sink: g.sink, memory: g.memory, piece: made, spare: k.spare}
	inner.rs, inner.t = in, t
	inner.programChains(p, name)
	for c := range t.chains {
		t.tagsOf(c)
	}
	return made
}

// programWriter writes the chains of one program.
type programWriter struct {
	sink
	memory *memory
	piece  *piece
	// effect is that of the rule that is being written.
	effect effect
	// spare are the packets that the program only counts.
	spare base.Sparing
}

func (g *programWriter) programChains(p *dataplane.Program, name string) {
	g.once(name, func() []rule {
		var rules []rule
		if p.Default.Verdict != dataplane.Open { // else the caller clears the mark, and looks at it
			rules = append(rules, rule{"", clearMark(g.opts.Accepted), ""})
		}
		open := p.Default.Verdict != dataplane.Drop // the end of the program is like a return
		for i := range p.Segments {
			s := &p.Segments[i]
			last := i == len(p.Segments)-1 && open
			switch {
			case s.Table != nil:
				rules = append(rules, g.stage(g.table(s.Table, &s.End), "tier "+s.Tier+", by peer", last)...)
			case !last && slices.ContainsFunc(s.Rules, func(r dataplane.Rule) bool { return r.Leaf.Verdict == dataplane.Next }):
				sub := fmt.Sprintf("%s-%d", name, i)
				g.chain(sub, g.segment(s)...)
				rules = append(rules, g.stage(sub, "tier "+s.Tier, last)...)
			default:
				rules = append(rules, g.segment(s)...)
				if s.End.Verdict == dataplane.Drop {
					return rules // nothing comes this far
				}
			}
		}
		if !open {
			if g.opts.sampleDenied && g.spare == base.SpareNone {
				rules = append(rules, sampleDenied())
			}
			rules = append(rules, rule{"", g.drop(), "no tier decides: default Deny"})
		}
		return rules
	})
}

// stage is the rules that lead to a tier's own chain, and past the next tiers if it accepts.
func (g *sink) stage(chain, comment string, last bool) []rule {
	rules := []rule{{"", "-j " + chain, comment}}
	if !last {
		rules = append(rules, rule{isMarked(g.opts.Accepted), "-j RETURN", ""})
	}
	return rules
}

// segment is a list of rules and its end.
func (g *programWriter) segment(s *dataplane.Segment) []rule {
	var rules []rule
	for i := range s.Rules {
		rules = append(rules, g.rule(&s.Rules[i])...)
	}
	return append(rules, g.end(&s.End)...)
}

// end is the end of a tier, which does not go on to the next rule only if it drops.
func (g *programWriter) end(l *dataplane.Leaf) []rule {
	end := *l
	if end.Verdict != dataplane.Drop {
		end.Verdict = dataplane.Continue
	}
	return g.leaf("", &end)
}

// rule is a rule: several where iptables needs more than one to say the same.
func (g *programWriter) rule(r *dataplane.Rule) []rule {
	var rules []rule
	g.effect = effectOf(r.Leaf.Verdict)
	for _, m := range g.matches(r.Conds) {
		rules = append(rules, g.leaf(m.text(), &r.Leaf)...)
	}
	return rules
}

// leaf is what happens to packets that match.
func (g *programWriter) leaf(match string, l *dataplane.Leaf) []rule {
	var rules []rule
	for _, m := range l.Before {
		o := g.origin(&dataplane.Leaf{Verdict: dataplane.Continue, Origin: m.Origin, Log: m.Log})
		rules = append(rules, rule{match, "-j " + o, ""})
	}
	var target string
	switch {
	case l.Verdict == dataplane.Drop && g.spare != base.SpareNone:
		target = g.dropBy(l)
	case l.Origin != (dataplane.Origin{}) && l.Verdict == dataplane.Continue:
		target = "-j " + g.origin(l)
	case l.Origin != (dataplane.Origin{}):
		target = "-g " + g.origin(l)
	case l.Verdict == dataplane.Accept:
		target = "-g " + g.accept()
	case l.Verdict == dataplane.Drop:
		target = "-j DROP"
	case l.Verdict == dataplane.Next, l.Verdict == dataplane.Open:
		target = "-j RETURN"
	default:
		return rules
	}
	return append(rules, rule{match, target, ""})
}

// drop is what denies a packet without a rule.
func (g *programWriter) drop() string {
	if g.spare == base.SpareNone {
		return "-j DROP"
	}
	return g.dropBy(&dataplane.Leaf{Verdict: dataplane.Drop})
}

// dropBy leads to the chain of a leaf that drops all but what is spared.
func (g *programWriter) dropBy(l *dataplane.Leaf) string {
	name := chainPrefix + "q-" + g.hash(l.Origin.String(), fmt.Sprint(l.Log))
	g.piece.denials[name] = dataplane.Leaf{Verdict: dataplane.Drop, Origin: l.Origin, Log: l.Log}
	return "-g " + name
}

// hash is that of a chain's content and of what it only counts.
func (g *programWriter) hash(parts ...string) string {
	if g.spare != base.SpareNone {
		parts = append(parts, "spares", string(g.spare))
	}
	return naming.Hash(parts...)
}

// accept is the chain that does no more than accept.
func (g *sink) accept() string {
	return g.once(chainPrefix+"accept", func() []rule { return []rule{{"", setMark(g.opts.Accepted), ""}} })
}
