package view

import (
	"math"
	"slices"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// Board is the policies, tier by tier.
type Board struct {
	Tiers []TierColumn `json:"tiers"`
}

// TierColumn is a tier with its policies, in order.
type TierColumn struct {
	Name string `json:"name"`
	// Order is nil for a tier that is last.
	Order         *float64     `json:"order,omitempty"`
	DefaultAction model.Action `json:"defaultAction"`
	// Missing: policies name the tier, and it does not exist.
	Missing bool `json:"missing,omitempty"`
	// End are the hits of the tier's end.
	End      Hits   `json:"end"`
	Policies []Card `json:"policies"`
}

// Card is a policy.
type Card struct {
	Policy    model.Ref  `json:"policy"`
	Kind      model.Kind `json:"kind"`
	Namespace string     `json:"namespace,omitempty"`
	Name      string     `json:"name"`
	// Order is nil for a policy that is last in its tier.
	Order *float64 `json:"order,omitempty"`
	// Native is a policy of Kubernetes' own API.
	Native bool `json:"native,omitempty"`
	// Audit policies are evaluated and counted, and not applied.
	Audit bool `json:"audit,omitempty"`
	// Variants are doNotTrack, preDNAT and applyOnForward.
	Variants []string `json:"variants,omitempty"`
	// Selects describes the subjects.
	Selects string `json:"selects"`
	// Subjects name the units that the policy selects: at most MaxSubjects of
	// SubjectCount.
	Subjects     []string   `json:"subjects"`
	SubjectCount int        `json:"subjectCount"`
	Endpoints    int        `json:"endpoints"`
	Ingress      *RuleList  `json:"ingress,omitempty"`
	Egress       *RuleList  `json:"egress,omitempty"`
	Hits         Hits       `json:"hits"`
	Nodes        *NodeCount `json:"nodes,omitempty"`
	// Invalid are problems that have made a rule or the policy fail closed, Warnings the
	// others.
	Invalid  []string `json:"invalid,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// MaxSubjects is how many subjects a Card names.
const MaxSubjects = 50

// NodeCount is how many nodes enforce a policy, of those that should.
type NodeCount struct {
	Enforced int32 `json:"enforced"`
	Of       int32 `json:"of"`
	Failed   int32 `json:"failed,omitempty"`
}

// RuleList is the rules of one direction. No rules: the policy governs the direction and
// allows nothing by itself.
type RuleList struct {
	Rules []RuleLine `json:"rules"`
}

// RuleLine is a rule in words.
type RuleLine struct {
	Index  int          `json:"index"`
	Name   string       `json:"name,omitempty"`
	Action model.Action `json:"action"`
	// Match describes what matches; one rule of the source object may be several of the
	// core, of which one has to match.
	Match []string `json:"match"`
	Hits  Hits     `json:"hits"`
}

// Board draws all policies, with the hits of the records.
func (w *World) Board(records []flows.Record) *Board {
	count := countHits(records)
	b := &Board{Tiers: []TierColumn{}}
	at := map[string]int{}
	for _, t := range w.index.Tiers() {
		at[t.Name] = len(b.Tiers)
		c := TierColumn{Name: t.Name, Order: orderOf(t.Order), DefaultAction: t.DefaultAction, Missing: t.Missing, Policies: []Card{}}
		for _, d := range []model.Direction{model.Ingress, model.Egress} {
			if h := count[ruleKey{t.Name, model.Ref{}, d, model.RuleEndOfTier}]; h != nil {
				c.End.sum(h)
			}
		}
		b.Tiers = append(b.Tiers, c)
	}
	for _, p := range w.index.Policies() {
		if i, ok := at[p.Tier]; ok {
			b.Tiers[i].Policies = append(b.Tiers[i].Policies, w.card(p, count))
		}
	}
	return b
}

func orderOf(o float64) *float64 {
	if math.IsInf(o, 0) || math.IsNaN(o) {
		return nil
	}
	return &o
}

func (w *World) card(p *model.Policy, count hits) Card {
	c := Card{
		Policy: p.Ref, Kind: p.Ref.Kind, Namespace: p.Ref.Namespace, Name: p.Ref.Name, Order: orderOf(p.Order), Audit: p.Audit,
		Native:  p.Ref.Kind == model.KindNetworkPolicy || p.Ref.Kind == model.KindClusterNetworkPolicy,
		Selects: model.DescribeSelector(p.Selector), Nodes: nodeCount(w.nodes[p.Ref]),
	}
	for _, v := range []struct {
		set  bool
		name string
	}{{p.DoNotTrack, "doNotTrack"}, {p.PreDNAT, "preDNAT"}, {p.ApplyOnForward, "applyOnForward"}} {
		if v.set {
			c.Variants = append(c.Variants, v.name)
		}
	}
	w.subjects(&c)
	if p.Ingress {
		c.Ingress = lines(p, model.Ingress, p.IngressRules, count, &c.Hits)
	}
	if p.Egress {
		c.Egress = lines(p, model.Egress, p.EgressRules, count, &c.Hits)
	}
	for _, x := range w.problems[p.Ref] {
		text := x.Message
		if x.Field != "" {
			text = x.Field + ": " + text
		}
		if x.Warning {
			c.Warnings = append(c.Warnings, text)
		} else {
			c.Invalid = append(c.Invalid, text)
		}
	}
	return c
}

func nodeCount(n *v1alpha1.NodeCounts) *NodeCount {
	if n == nil {
		return nil
	}
	return &NodeCount{n.Enforced, n.Desired, n.Failed}
}

// subjects names the units that a policy selects; endpoints of no unit by themselves.
func (w *World) subjects(c *Card) {
	seen := map[string]bool{}
	selected := w.index.Selected(c.Policy)
	c.Endpoints, c.Subjects = len(selected), []string{}
	for _, ref := range selected {
		name := ref.String()
		if u := w.ends.member[ref]; u != nil {
			name = u.Name
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		c.Subjects = append(c.Subjects, name)
	}
	slices.Sort(c.Subjects)
	c.SubjectCount = len(c.Subjects)
	c.Subjects = c.Subjects[:min(len(c.Subjects), MaxSubjects)]
}

// lines are the rules of one direction, and adds their hits to total.
func lines(p *model.Policy, d model.Direction, rules []model.Rule, count hits, total *Hits) *RuleList {
	out := &RuleList{Rules: []RuleLine{}}
	for i := range rules {
		r := &rules[i]
		if n := len(out.Rules); n > 0 && out.Rules[n-1].Index == r.Index {
			if text := r.Match.Describe(); !slices.Contains(out.Rules[n-1].Match, text) {
				out.Rules[n-1].Match = append(out.Rules[n-1].Match, text)
			}
			continue
		}
		l := RuleLine{Index: r.Index, Name: r.Name, Action: r.Action, Match: []string{r.Match.Describe()}}
		if h := count[ruleKey{p.Tier, p.Ref, d, model.RuleIndex(r.Index)}]; h != nil {
			l.Hits = *h
			total.sum(h)
		}
		out.Rules = append(out.Rules, l)
	}
	return out
}
