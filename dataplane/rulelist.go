package dataplane

import (
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// ruleList is the rules of one policy in one direction for one family: compiled
// once, shared by all programs and tables that the policy is in. Immutable.
type ruleList struct {
	rules []flatRule
	// asked is how many conditions on the peer's address there are.
	asked  int
	digest digest
	// sets are those that the rules' other conditions ask for.
	sets []*Set
	// size is how many rules and ranges of ports there are. Ranges that rules share
	// count once.
	size int
}

// flatRule is a rule of a ruleList.
type flatRule struct {
	conds []Cond
	// rest are the conditions but those on the peer's address: what is left to
	// ask in a table, once the peer is known.
	rest   []Cond
	leaf   *Leaf
	digest digest // of rest and leaf
	// protocol is the one that rest asks for, 0 if it is more than one; whole is
	// true if rest asks for nothing else.
	protocol model.Protocol
	whole    bool
	// weight is what the rule adds to a rest that it is part of: one, and one for
	// each range of ports.
	weight int
}

func (r *flatRule) rule() Rule      { return Rule{Conds: r.conds, Leaf: *r.leaf} }
func (r *flatRule) remainder() Rule { return Rule{Conds: r.rest, Leaf: *r.leaf} }

// policyRec holds the rule lists of a policy while an effective policy has it.
type policyRec struct {
	refs  int // chains of compiled effective policies
	lists [2][2]*ruleList
	// literals that the lists ask for, one for each time.
	literals []*setRec
}

// peerSide is the side on which a chain of a direction has the peer.
func peerSide(dir model.Direction) CondKind {
	if dir == model.Egress {
		return CondDstAddr
	}
	return CondSrcAddr
}

// familyIndex is a place for what is kept for each family.
func familyIndex(f Family) int {
	if f == IPv4 {
		return 0
	}
	return 1
}

// lists returns the rule lists of a tier's part of a chain; none is empty.
func (c *Compiler) lists(t *index.TierChain, dir model.Direction, f Family) []*ruleList {
	out := make([]*ruleList, 0, len(t.Policies))
	for _, p := range t.Policies {
		if l := c.list(p, dir, f); len(l.rules) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// list returns the rules of a policy that is held.
func (c *Compiler) list(p *index.Policy, dir model.Direction, f Family) *ruleList {
	rec := c.flat[p]
	rules := p.Resolved(dir)
	at := &rec.lists[dir][familyIndex(f)]
	if *at != nil {
		return *at
	}
	if other := rec.lists[dir][1-familyIndex(f)]; other != nil && familyFree(rules) {
		*at = other
		return other
	}
	*at = c.newRuleList(rec, p, rules, dir, f)
	return *at
}

func (c *Compiler) newRuleList(rec *policyRec, p *index.Policy, rules []index.Rule, dir model.Direction, f Family) *ruleList {
	l := &ruleList{}
	var whole content
	c.ranged = map[portList]portRanges{}
	counted := map[*PortRange]struct{}{}
	rules = unite(rules, dir, f, max(c.opts.Linear, 1))
	for i := range rules {
		leaf, ok := leafOf(p, &rules[i], dir)
		if !ok {
			continue
		}
		for _, conds := range c.conditions(&rules[i], f) {
			l.add(conds, &leaf, peerSide(dir), &whole)
			l.size += sizeOf(conds, counted)
		}
	}
	c.ranged = nil
	l.digest = whole.sum()
	c.keepLiterals(rec, l)
	return l
}

// add appends a rule, and its content to that of all rules.
func (l *ruleList) add(conds []Cond, leaf *Leaf, side CondKind, whole *content) {
	r := flatRule{conds: conds, leaf: leaf}
	n := 0
	for i := range conds {
		if conds[i].Kind == side {
			n++
		} else if conds[i].Set != nil {
			l.sets = append(l.sets, conds[i].Set)
		}
	}
	l.asked += n
	switch {
	case n == 0:
		r.rest = conds
	case n < len(conds):
		r.rest = make([]Cond, 0, len(conds)-n)
		for i := range conds {
			if conds[i].Kind != side {
				r.rest = append(r.rest, conds[i])
			}
		}
	}
	r.protocol, _ = protocolOf(r.rest)
	r.weight = 1
	for i := range r.rest {
		r.weight += len(r.rest[i].Ports)
	}
	r.whole = len(r.rest) == 0 || len(r.rest) == 1 && r.protocol != 0
	var rest content
	rest.conds(r.rest)
	rest.leaf(leaf)
	r.digest = rest.sum()
	whole.conds(conds)
	whole.digest(&r.digest)
	l.rules = append(l.rules, r)
}

// sizeOf is what a rule adds to the size of a list. Ranges that are counted already
// count no more.
func sizeOf(conds []Cond, counted map[*PortRange]struct{}) int {
	size := 1
	for i := range conds {
		if p := conds[i].Ports; len(p) > 0 {
			if _, ok := counted[&p[0]]; !ok {
				counted[&p[0]] = struct{}{}
				size += len(p)
			}
		}
	}
	return size
}

// familyFree says whether rules are the same for both families.
func familyFree(rules []index.Rule) bool {
	icmp := func(p model.Protocol) bool { return p == model.ICMPv4 || p == model.ICMPv6 }
	for i := range rules {
		m := &rules[i].Match
		if m.IPVersion != 0 || icmp(m.Protocol) || icmp(m.NotProtocol) || m.ICMP != nil || m.NotICMP != nil ||
			m.Source.Nets != nil || m.Source.NotNets != nil || m.Destination.Nets != nil || m.Destination.NotNets != nil {
			return false
		}
	}
	return true
}

// holdPolicies holds the policies of an effective policy, each as often as it
// stands in a chain.
func (c *Compiler) holdPolicies(stages []index.StageChain) {
	eachPolicy(stages, func(p *index.Policy) {
		rec := c.flat[p]
		if rec == nil {
			rec = &policyRec{}
			c.flat[p] = rec
		}
		rec.refs++
	})
}

func (c *Compiler) releasePolicies(stages []index.StageChain) {
	eachPolicy(stages, func(p *index.Policy) {
		rec := c.flat[p]
		if rec.refs--; rec.refs > 0 {
			return
		}
		delete(c.flat, p)
		for _, lit := range rec.literals {
			if lit.refs--; lit.refs == 0 {
				c.forgetLiteral(lit)
			}
		}
	})
}

func eachPolicy(stages []index.StageChain, visit func(*index.Policy)) {
	for i := range stages {
		for j := range stages[i].Chain {
			for _, p := range stages[i].Chain[j].Policies {
				visit(p)
			}
		}
	}
}
