package lint

import (
	"fmt"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// NamespacedSets reports the rules of global policies whose selectors would match
// NetworkSets of namespaces, but do not state which namespaces they mean: their meaning
// depends on Settings.NamespacedSetsEverywhere. It needs only policies, network sets
// and settings, and is part of Run.
func NamespacedSets(ix *index.Index) []Finding {
	l := &linter{ix: ix}
	l.namespacedSets()
	return l.findings
}

func (l *linter) namespacedSets() {
	for _, p := range l.ix.Policies() {
		for _, dir := range directions {
			rules := p.Rules(dir)
			for i := range rules {
				for _, far := range []bool{false, true} {
					peer := &rules[i].Match.Source
					if far {
						peer = &rules[i].Match.Destination
					}
					field := sideField(p, dir, &rules[i], far)
					l.leftOut(p, &rules[i], field+".selector", peer.Selector, false)
					l.leftOut(p, &rules[i], field+".notSelector", peer.NotSelector, true)
				}
			}
		}
	}
}

// leftOut reports the NetworkSets that one selector of a rule excludes, or will
// exclude.
func (l *linter) leftOut(p *model.Policy, r *model.Rule, field string, s *selector.Selector, not bool) {
	if s == nil || r.Match.Never {
		return
	}
	sets := l.ix.LeftOut(s)
	if len(sets) == 0 {
		return
	}
	f := Finding{Severity: Info, Code: CodeNamespacedSet, Object: p.Ref, Field: field}
	for _, ref := range sets {
		f.Related = append(f.Related, Related{Object: ref})
	}
	if l.ix.Settings().NamespacedSetsEverywhere {
		f.Severity = Warning
		f.Message = fmt.Sprintf("matches %s, so anyone who may write NetworkSets in any namespace can widen it, because namespacedSets is Everywhere; with Selected the rule no longer counts them and %s: name the namespaces by a namespaceSelector",
			some(sets), withoutSets(r.Action, not))
	} else {
		f.Message = fmt.Sprintf("does not count %s: a global rule counts NetworkSets only if it names their namespaces by a namespaceSelector", some(sets))
	}
	l.add(f)
}

// withoutSets describes the effect of a rule once its selector, or notSelector, matches
// less.
func withoutSets(a model.Action, not bool) string {
	verb := map[model.Action]string{model.Allow: "allows", model.Deny: "denies", model.Log: "logs", model.Pass: "passes"}[a]
	if not {
		return verb + " more"
	}
	return verb + " less"
}
