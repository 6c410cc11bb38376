package view

import (
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// Hits are the connections that something has decided.
type Hits struct {
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	// WouldAllow and WouldDeny are those that it would decide if audited policies were
	// enforced, and now are decided otherwise.
	WouldAllow uint64 `json:"wouldAllow"`
	WouldDeny  uint64 `json:"wouldDeny"`
}

func (h *Hits) add(v *model.Verdict, n uint64, would bool) {
	switch {
	case would && v.Action == model.Deny:
		h.WouldDeny += n
	case would:
		h.WouldAllow += n
	case v.Action == model.Deny:
		h.Denied += n
	default:
		h.Allowed += n
	}
}

func (h *Hits) sum(o *Hits) {
	h.Allowed += o.Allowed
	h.Denied += o.Denied
	h.WouldAllow += o.WouldAllow
	h.WouldDeny += o.WouldDeny
}

// ruleKey is one rule of a policy, or its tier's end.
type ruleKey struct {
	tier      string
	policy    model.Ref
	direction model.Direction
	rule      model.RuleIndex
}

// hits are those of each rule, and of each tier's end without a policy.
type hits map[ruleKey]*Hits

func countHits(records []flows.Record) hits {
	out := hits{}
	add := func(v *model.Verdict, n uint64, would bool) {
		if v.Reason != model.ReasonRule && v.Reason != model.ReasonEndOfTier {
			return
		}
		k := ruleKey{v.Tier, v.Policy, v.Direction, v.Rule}
		if v.Rule == model.RuleEndOfTier {
			k.policy = model.Ref{}
		}
		h := out[k]
		if h == nil {
			h = &Hits{}
			out[k] = h
		}
		h.add(v, n, would)
	}
	for i := range records {
		r := &records[i]
		for _, v := range []*model.Verdict{r.Decided.Egress, r.Decided.Ingress} {
			if v == nil {
				continue
			}
			add(v, connections(r), false)
			if v.Audit != nil {
				add(v.Audit, connections(r), true)
			}
		}
	}
	return out
}

// connections is how many a record has seen, the denied ones too. Those that began before
// the record count where it has no others.
func connections(r *flows.Record) uint64 { return max(r.Attempts(), r.Connections.Live) }
