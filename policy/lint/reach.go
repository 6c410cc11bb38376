package lint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// ruleKey names one rule of an object.
type ruleKey struct {
	policy model.Ref
	dir    model.Direction
	index  int
}

// String is used in messages.
func (k ruleKey) String() string {
	if k.index == int(model.RuleEndOfTier) {
		return fmt.Sprintf("the end of the tier of %s", k.policy)
	}
	return fmt.Sprintf("%s rule %d", k.policy, k.index)
}

// fate is the result for a rule in all evaluations.
type fate struct {
	action model.Action
	// matched: some packets of some pair of addresses match; reached: some of
	// these have not been decided before.
	matched, reached bool
	// by are the rules that decide what it matches, and their positions.
	by map[ruleKey]place
}

// place orders rules in evaluation order.
type place struct {
	tier, policy, rule int
	action             model.Action
}

// shadowed evaluates every chain for every kind of peer and reports rules that never
// decide anything.
func (l *linter) shadowed() {
	fates := map[ruleKey]*fate{}
	for i := range l.chains {
		l.follow(&l.chains[i], fates)
	}
	l.followSelf(fates)
	// Endpoints without any address cannot be evaluated.
	addressed := map[model.Ref]bool{}
	for i := range l.chains {
		for _, t := range l.chains[i].Chain {
			for _, p := range t.Policies {
				addressed[p.Ref] = addressed[p.Ref] || len(l.chains[i].own) > 0
			}
		}
	}
	for _, p := range l.ix.Policies() {
		if addressed[p.Ref] {
			l.judge(p, fates)
		}
	}
}

// follow evaluates a chain for each pair of kinds of addresses.
func (l *linter) follow(c *ownChain, fates map[ruleKey]*fate) {
	var sources, destinations []*packets.Party
	if c.Direction == model.Ingress {
		sources, destinations = l.distinct(c, l.kinds, false), l.distinct(c, c.own, true)
	} else {
		sources, destinations = l.distinct(c, c.own, false), l.distinct(c, l.kinds, true)
	}
	for _, s := range sources {
		for _, d := range destinations {
			if s.Addr.Is4() == d.Addr.Is4() {
				l.walk(c, s, d, fates)
			}
		}
	}
}

// followSelf evaluates the policies that govern a pod that connects to itself through a
// Service.
func (l *linter) followSelf(fates map[ruleKey]*fate) {
	type key struct {
		chain, src, dst int32
		is4             bool
	}
	seen := map[key]bool{}
	for _, p := range l.parties {
		if p.Pod == nil || p.Effective == nil {
			continue
		}
		for _, dir := range directions {
			chain := p.Effective.SelfIngress
			if dir == model.Egress {
				chain = p.Effective.SelfEgress
			}
			if len(chain) == 0 {
				continue
			}
			k := key{l.e.Number(chain, dir), l.e.View(chain, dir, false, p), l.e.View(chain, dir, true, p), p.Addr.Is4()}
			if !seen[k] {
				seen[k] = true
				l.walk(&ownChain{StageChain: index.StageChain{Stage: model.StageWorkload, Direction: dir, Chain: chain, EndOfTier: true, Default: model.Allow}}, p, p, fates)
			}
		}
	}
}

// distinct keeps one of the parties that the chain sees alike.
func (l *linter) distinct(c *ownChain, parties []*packets.Party, dst bool) []*packets.Party {
	type key struct {
		view int32
		is4  bool
	}
	seen := map[key]bool{}
	var out []*packets.Party
	for _, p := range parties {
		k := key{l.e.View(c.Chain, c.Direction, dst, p), p.Addr.Is4()}
		if !seen[k] {
			seen[k] = true
			out = append(out, p)
		}
	}
	return out
}

// taken is what a rule or the end of a tier has decided in one evaluation.
type taken struct {
	by    ruleKey
	at    place
	space packets.Space
}

func (l *linter) walk(c *ownChain, s, d *packets.Party, fates map[ruleKey]*fate) {
	var before []taken
	l.e.Walk(c.Chain, c.Direction, c.endOfTier(), s, d, func(p packets.Passage) {
		t := &c.Chain[p.Tier]
		if p.Policy < 0 {
			if p.Action == model.Deny {
				last := model.Ref{}
				for _, q := range t.Policies {
					if !q.Audit {
						last = q.Ref
					}
				}
				before = append(before, taken{ruleKey{last, c.Direction, int(model.RuleEndOfTier)}, place{p.Tier, len(t.Policies), 0, model.Deny}, p.Reached})
			}
			return
		}
		policy := t.Policies[p.Policy]
		rule := policy.Resolved(c.Direction)[p.Rule]
		k := ruleKey{policy.Ref, c.Direction, rule.Index}
		f := fates[k]
		if f == nil {
			f = &fate{action: rule.Action, by: map[ruleKey]place{}}
			fates[k] = f
		}
		// Between addresses of one family, the other's ICMP does not exist.
		match := p.Match.Intersect(packets.Family(familyOf(s)))
		if match.IsEmpty() {
			return
		}
		f.matched = true
		here := match.Intersect(p.Reached)
		if !here.IsEmpty() {
			f.reached = true
		}
		if !f.reached {
			for _, t := range before {
				if t.by != k && !t.space.Intersect(match).IsEmpty() {
					f.by[t.by] = t.at
				}
			}
		}
		if !policy.Audit && rule.Action != model.Log && !here.IsEmpty() {
			before = append(before, taken{k, place{p.Tier, p.Policy, p.Rule, rule.Action}, here})
		}
	})
}

func familyOf(p *packets.Party) uint8 {
	if p.Addr.Is4() {
		return 4
	}
	return 6
}

// judge reports what is hidden in one policy.
func (l *linter) judge(p *model.Policy, fates map[ruleKey]*fate) {
	type hidden struct {
		key ruleKey
		*fate
	}
	var found []hidden
	live := false // some rule decides something
	for _, dir := range directions {
		for _, g := range groupRules(p.Rules(dir)) {
			k := ruleKey{p.Ref, dir, g.index}
			f := fates[k]
			switch {
			case f == nil || !f.matched:
				l.unmatched(p, dir, &g)
			case f.reached:
				live = true
			default:
				found = append(found, hidden{k, f})
			}
		}
	}
	if !live && len(found) > 1 {
		by := map[ruleKey]place{}
		same, structural := true, true
		for _, h := range found {
			for k, at := range h.by {
				by[k] = at
			}
			same = same && h.sameEffect()
			structural = structural && l.structural(p, h.key)
		}
		// Its own rules hide each other, but not all of them.
		for k := range by {
			if k.policy == p.Ref && k.index >= 0 {
				delete(by, k)
			}
		}
		l.hidden(Finding{Severity: Warning, Code: CodeShadowedPolicy, Object: p.Ref, Message: "none of its rules decides anything: all are hidden by "}, by, same, structural)
		return
	}
	for _, h := range found {
		f := Finding{Severity: Warning, Code: CodeShadowedRule, Object: p.Ref, Field: ruleField(h.key.dir, h.key.index), Message: "hidden by "}
		l.hidden(f, h.by, h.sameEffect(), l.structural(p, h.key))
	}
}

// sameEffect reports whether everything that hides a rule has the rule's effect.
func (f *fate) sameEffect() bool {
	for _, at := range f.by {
		if at.action != f.action {
			return false
		}
	}
	return true
}

// hidden reports f, whose message ends with "hidden by", for the rules that hide what f is
// about. same reports whether these have the same effect, structural whether the result
// does not depend on the endpoints that exist.
func (l *linter) hidden(f Finding, by map[ruleKey]place, same, structural bool) {
	keys := make([]ruleKey, 0, len(by))
	for k := range by {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b ruleKey) int {
		x, y := by[a], by[b]
		return cmp.Or(cmp.Compare(x.tier, y.tier), cmp.Compare(x.policy, y.policy), cmp.Compare(x.rule, y.rule), a.policy.Compare(b.policy))
	})
	f.Message += some(keys)
	switch {
	case same:
		f.Severity = Info
		f.Message += ", with the same effect"
	case !structural:
		f.Severity = Info
	}
	if !structural {
		f.Message += ", for all endpoints that exist now"
	}
	for _, k := range keys {
		r := Related{Object: k.policy}
		if k.index >= 0 {
			r.Field = ruleField(k.dir, k.index)
		}
		f.Related = append(f.Related, r)
	}
	l.add(f)
}

// unmatched reports a rule whose sides have members, but no pair that the rule could
// match. If a side has no members, there is a finding already.
func (l *linter) unmatched(p *model.Policy, dir model.Direction, g *ruleGroup) {
	for _, f := range l.findings {
		if f.Object == p.Ref && (f.Field == ruleField(dir, g.index) || len(f.Field) > len(ruleField(dir, g.index)) && f.Field[:len(ruleField(dir, g.index))+1] == ruleField(dir, g.index)+".") {
			return
		}
	}
	for i := range g.rules {
		if g.rules[i].Match.Never {
			return
		}
	}
	l.add(Finding{
		Severity: Warning, Code: CodeNeverMatches, Object: p.Ref, Field: ruleField(dir, g.index),
		Message: "matches nothing: no packet between an endpoint that the policy selects and any peer matches all of its criteria",
	})
}
