package flows

import (
	"iter"

	"github.com/tierwall/tierwall/policy/model"
)

// AuditDiffers reports whether the connections would have been decided otherwise, in
// either direction, if audited policies were enforced.
func (d *Decided) AuditDiffers() bool { return d.Audited() != d.Action }

// Audited is what would have happened if audited policies were enforced, as far as it is
// known: a direction whose verdict is missing allows what was allowed.
func (d *Decided) Audited() model.Action {
	deny, changed := false, false
	for _, v := range []*model.Verdict{d.Egress, d.Ingress} {
		if v == nil {
			continue
		}
		a := v.Action
		if v.Audit != nil {
			changed = changed || v.Audit.Action != a
			a = v.Audit.Action
		}
		deny = deny || a == model.Deny
	}
	switch {
	case deny:
		return model.Deny
	case changed: // what denied would not have
		return model.Allow
	}
	return d.Action
}

// Denying is the verdict that denied; nil: none did, or it is not known.
func (d *Decided) Denying() *model.Verdict {
	for _, v := range []*model.Verdict{d.Egress, d.Ingress} {
		if v != nil && v.Action == model.Deny {
			return v
		}
	}
	return nil
}

// decisions are Decided and, if there is one, Before.
func (r *Record) decisions() iter.Seq[*Decided] {
	return func(yield func(*Decided) bool) {
		if yield(&r.Decided) && r.Before != nil {
			yield(r.Before)
		}
	}
}

// verdicts are those of both directions, and after each what audited policies would
// have decided.
func (d *Decided) verdicts() iter.Seq[*model.Verdict] {
	return func(yield func(*model.Verdict) bool) {
		for _, v := range []*model.Verdict{d.Egress, d.Ingress} {
			if v != nil && (!yield(v) || v.Audit != nil && !yield(v.Audit)) {
				return
			}
		}
	}
}

// keyOf names the rule of a verdict; false if no policy decided it.
func keyOf(v *model.Verdict) (RuleKey, bool) {
	if v == nil || !v.Policy.Kind.IsPolicy() || v.Rule == model.RuleDefault {
		return RuleKey{}, false
	}
	return RuleKey{Policy: v.Policy, Tier: v.Tier, Direction: v.Direction, Rule: v.Rule}, true
}

// Attempts are the connections of a record: those that were opened, and those that
// policy denied.
func (r *Record) Attempts() uint64 { return r.Connections.New + r.Denied }
