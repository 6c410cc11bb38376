package policytest

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// Compare returns how a decision differs from what a case expects, in the order action,
// egress, ingress; nil if the case passes.
func Compare(c *v1alpha1.PolicyTestCase, d *model.Decision) []string {
	var out []string
	if string(c.Expect) != d.Action.String() {
		out = append(out, fmt.Sprintf("expected %s, got %s", c.Expect, d.Action))
	}
	if c.DecidedBy == nil {
		return out
	}
	for _, side := range []struct {
		direction model.Direction
		want      *v1alpha1.Decider
	}{{model.Egress, c.DecidedBy.Egress}, {model.Ingress, c.DecidedBy.Ingress}} {
		if side.want == nil {
			continue
		}
		got, ok := d.Deciding(side.direction)
		if !ok {
			out = append(out, fmt.Sprintf("%s was not evaluated", side.direction))
			continue
		}
		out = append(out, compareDecider(side.want, &got)...)
	}
	return out
}

// compareDecider compares the fields that are set.
func compareDecider(want *v1alpha1.Decider, got *model.Verdict) []string {
	var out []string
	for _, f := range []struct{ name, want, got string }{
		{"tier", want.Tier, got.Tier},
		{"policy", want.Policy, got.Policy.String()},
	} {
		if f.want != "" && f.want != f.got {
			out = append(out, difference(got.Direction, f.name, f.want, f.got))
		}
	}
	if want.Rule != nil && want.Rule.String() != got.Rule.String() {
		out = append(out, difference(got.Direction, "rule", want.Rule.String(), got.Rule.String()))
	}
	return out
}

func difference(d model.Direction, field, want, got string) string {
	if got == "" {
		got = "none"
	}
	return fmt.Sprintf("%s %s: expected %s, got %s", d, field, want, got)
}

// Describe describes in one line what decided: for a denial, what denied; otherwise
// what allowed in each direction in which a policy could have decided.
func Describe(d *model.Decision) string {
	var parts []string
	for _, dir := range []model.Direction{model.Egress, model.Ingress} {
		v, ok := d.Deciding(dir)
		if !ok || v.Reason == model.ReasonNoEndpoint && v.Action == model.Allow {
			continue
		}
		if v.Action == model.Deny {
			return describeVerdict(&v)
		}
		parts = append(parts, describeVerdict(&v))
	}
	if len(parts) == 0 {
		return "no policy applies"
	}
	return strings.Join(parts, "; ")
}

// describeVerdict describes in a few words what decided one direction.
func describeVerdict(v *model.Verdict) string {
	s := v.Direction.String()
	switch v.Stage {
	case model.StageWorkload, model.StageHost, model.StageToHost, "":
	default:
		s += " (" + string(v.Stage) + ")"
	}
	switch v.Reason {
	case model.ReasonRule:
		s += fmt.Sprintf(" tier %s %s rule %s", v.Tier, v.Policy, v.Rule)
		if v.RuleName != "" {
			s += " (" + v.RuleName + ")"
		}
		return s
	case model.ReasonEndOfTier:
		return s + fmt.Sprintf(" tier %s %s %s", v.Tier, v.Policy, v.Rule)
	case model.ReasonDefault:
		return s + " default"
	case model.ReasonNoEndpoint:
		return s + " no endpoint"
	case model.ReasonFailsafe:
		return s + " failsafe port"
	case model.ReasonOwnNode:
		return s + " own node"
	case model.ReasonLoopback:
		return s + " loopback"
	case model.ReasonEndpointToHost:
		return s + " endpointToHostAction"
	case model.ReasonUnknownWorkload:
		return s + " unknown workload"
	case model.ReasonGuard:
		return s + " " + v.Policy.Name + " guard"
	case model.ReasonNoServiceEndpoint:
		return s + " no endpoint of " + v.Endpoint.String()
	case model.ReasonGhost:
		return s + " ghost"
	}
	return s + " " + string(v.Reason)
}
