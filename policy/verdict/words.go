package verdict

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Because says in one line what settled a decision.
func Because(d *model.Decision) string {
	for i := range d.Stages {
		if v := &d.Stages[i]; v.Action == model.Deny {
			return fmt.Sprintf("%s by %s", v.Direction, Decider(v))
		}
	}
	var parts []string
	for _, dir := range []model.Direction{model.Egress, model.Ingress} {
		if v, ok := d.Deciding(dir); ok {
			parts = append(parts, fmt.Sprintf("%s by %s", dir, Decider(&v)))
		}
	}
	return strings.Join(parts, ", ")
}

// Decider names what decided: a rule, the end of a tier, or a default.
func Decider(v *model.Verdict) string {
	switch v.Reason {
	case model.ReasonRule:
		name := ""
		if v.RuleName != "" {
			name = " (" + v.RuleName + ")"
		}
		return fmt.Sprintf("%s rule %s%s in tier %s", v.Policy, v.Rule, name, v.Tier)
	case model.ReasonEndOfTier:
		return fmt.Sprintf("the end of tier %s (last policy %s)", v.Tier, v.Policy)
	}
	return ReasonText(v)
}

// ReasonText names what decided where no rule and no end of a tier did.
func ReasonText(v *model.Verdict) string {
	switch v.Reason {
	case model.ReasonNoEndpoint:
		return "no policy applies: the address is no endpoint's"
	case model.ReasonFailsafe:
		return "a failsafe port, which no policy closes"
	case model.ReasonOwnNode:
		return "a node reaches its own pods always"
	case model.ReasonLoopback:
		return "an endpoint reaches itself always"
	case model.ReasonEndpointToHost:
		return "endpointToHostAction of Tierwall/default"
	case model.ReasonUnknownWorkload:
		if v.Policy.Kind == model.KindGuard {
			return "unknownWorkloads of Tierwall/default: by a pod's interface, with an address that no pod of the node has"
		}
		return "unknownWorkloads of Tierwall/default: a pod address that no known pod has"
	case model.ReasonGuard:
		g := model.GuardName(v.Policy.Name)
		return fmt.Sprintf("%s of Tierwall/default: %s", g.Setting(), g.Text())
	case model.ReasonLinkService:
		return "what a link cannot work without: neighbour discovery, multicast listeners, DHCP"
	case model.ReasonNoServiceEndpoint:
		return "nothing takes what is sent there: the Service has no endpoint of this address family, or not this port"
	case model.ReasonGhost:
		return "a pod whose object is gone and which may still run: it sends and gets nothing"
	case model.ReasonPastBudget:
		return "a pod past the budget of its node: it sends and gets nothing"
	}
	if v.Action == model.NoAction {
		return "nothing matched: the next stage decides"
	}
	return "the endpoint's default: no tier decided"
}
