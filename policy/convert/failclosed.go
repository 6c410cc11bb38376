package convert

import "github.com/tierwall/tierwall/policy/model"

// failClosed is the rule that replaces one that could not be understood.
func failClosed(rule model.Rule) model.Rule {
	switch rule.Action {
	case model.Allow, model.Log:
		rule.Match = model.Match{Never: true}
	default:
		rule.Action, rule.Match = model.Deny, model.Match{}
	}
	return rule
}

// distrust is applied to the rules of a policy whose scope or kind could not
// be understood: it may select endpoints that it was not meant for, so it may
// deny, and neither allow nor hand on. Rules of one index become one.
func distrust(rules []model.Rule) []model.Rule {
	var out []model.Rule
	for _, rule := range rules {
		if rule.Action == model.Allow || rule.Action == model.Pass {
			if n := len(out); n > 0 && out[n-1].Index == rule.Index {
				continue
			}
			rule = failClosed(rule)
		}
		out = append(out, rule)
	}
	return out
}
