package dataplane

import "github.com/tierwall/tierwall/policy/model"

// GuardOrigin is what counts the packets that a guard has dropped or, with
// counted, would have.
func GuardOrigin(g model.GuardName, counted bool) Origin {
	return Origin{Policy: model.Ref{Kind: model.KindGuard, Name: string(g)}, Rule: model.RuleDefault, Action: model.Deny, Audit: counted}
}

// Guard returns the guard whose packets an Origin counts; not ok for a rule's.
func (o Origin) Guard() (g model.GuardName, counted, ok bool) {
	if o.Policy.Kind != model.KindGuard {
		return "", false, false
	}
	return model.GuardName(o.Policy.Name), o.Audit, true
}
