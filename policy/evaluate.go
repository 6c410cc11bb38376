package policy

import "github.com/tierwall/tierwall/policy/model"

// Matches says whether a rule matches a packet.
func (r *Rule) Matches(f *model.Flow) bool { return false }

// Evaluate applies one chain to a packet. def is the action if no tier decides (NoAction for stages
// without one). endOfTier false leaves out the tiers' default actions (untracked and preDNAT stages).
func (c Chain) Evaluate(f *model.Flow, dir model.Direction, endOfTier bool, def model.Action) model.Verdict {
	return model.Verdict{}
}
