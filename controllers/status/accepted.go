package status

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/policy/model"
)

// Condition types of policies.
const (
	// Accepted: the policy is understood as written.
	Accepted = "Accepted"
	// Enforced: every node with an endpoint that the policy selects enforces it.
	Enforced = "Enforced"
)

// Reasons of the condition Accepted.
const (
	ReasonAccepted     = "Accepted"
	ReasonWithWarnings = "AcceptedWithWarnings" // True all the same
	ReasonInvalid      = "Invalid"              // False: a part is not understood and fails closed
	ReasonUnknownTier  = "UnknownTier"          // False: evaluated after all other tiers
)

// maxMessage bounds the messages of conditions and events, in bytes.
const maxMessage = 1000

// accepted reports whether a policy is understood as written, by what its
// conversion has come to. tier reports whether there is a tier of a name; the built-in
// ones are always there.
func accepted(o model.Object, problems []model.Problem, tier func(name string) bool) metav1.Condition {
	c := metav1.Condition{Type: Accepted, Status: metav1.ConditionTrue, Reason: ReasonAccepted, Message: "The policy is understood as written."}
	var errs, warnings []string
	for _, p := range problems {
		line := p.Message
		if p.Field != "" {
			line = p.Field + ": " + p.Message
		}
		if p.Warning {
			warnings = append(warnings, line)
		} else {
			errs = append(errs, line)
		}
	}
	unknown := false
	if p, ok := o.(*model.Policy); ok && !builtin(p.Tier) && !tier(p.Tier) {
		unknown = true
		errs = append(errs, fmt.Sprintf("spec.tier: there is no tier %q; the policy is evaluated after all other tiers, in one that denies by default", p.Tier))
	}
	switch {
	case len(errs) == 1 && unknown:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, ReasonUnknownTier, enumerate(append(errs, warnings...))
	case len(errs) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, ReasonInvalid, enumerate(append(errs, warnings...))
	case len(warnings) > 0:
		c.Reason, c.Message = ReasonWithWarnings, enumerate(warnings)
	}
	return c
}

func builtin(tier string) bool {
	switch tier {
	case model.TierDefault, model.TierKubeAdmin, model.TierKubeBaseline:
		return true
	}
	return false
}

// enumerate joins lines, and says how many did not fit.
func enumerate(lines []string) string {
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			b.WriteString("; ")
		}
		rest := fmt.Sprintf("and %d more", len(lines)-i)
		if b.Len()+len(line)+len("; ")+len(rest) > maxMessage {
			if i == 0 {
				return shorten(line)
			}
			b.WriteString(rest)
			return b.String()
		}
		b.WriteString(line)
	}
	return b.String()
}

// shorten cuts a message at the bound.
func shorten(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage-len("…")], "") + "…"
}
