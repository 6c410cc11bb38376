package status

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Reasons of the condition Enforced.
const (
	ReasonEnforced     = "Enforced"         // True, on all nodes with endpoints that it selects
	ReasonNoEndpoints  = "NoEndpoints"      // True: it selects none, so there is nothing to do
	ReasonAudit        = "Audit"            // False: evaluated and counted, not applied
	ReasonNotAccepted  = "NotAccepted"      // False: enforced in a form that widens no access
	ReasonNodesFailed  = "NodesFailed"      // False: a node's kernel does not hold it
	ReasonPending      = "Pending"          // Unknown: nodes have not reported this generation yet
	ReasonAgentsSilent = "AgentsSilent"     // Unknown: agents have stopped reporting
	ReasonNoAgents     = "NoAgents"         // Unknown: no agent has ever reported
	ReasonTruncated    = "ReportsTruncated" // Unknown: reports are too long to name all policies
)

// maxNodeNames is how many nodes a message and failedNodes name.
const maxNodeNames = 10

// enforced makes the condition Enforced and the counts of nodes.
// early: the generation is so new that nodes may not have reported it.
func enforced(c count, ok, audit, early bool) (metav1.Condition, *v1alpha1.NodeCounts) {
	desired := c.enforced + len(c.failed) + len(c.waiting) + len(c.silent)
	counts := &v1alpha1.NodeCounts{
		Ready: fmt.Sprintf("%d/%d", c.enforced, desired), Desired: int32(desired), Enforced: int32(c.enforced), Failed: int32(len(c.failed)),
		FailedNodes: c.failed[:min(len(c.failed), maxNodeNames)],
	}
	if !c.anyReports {
		counts = nil
	}
	cond := metav1.Condition{Type: Enforced}
	set := func(status metav1.ConditionStatus, reason, format string, args ...any) {
		cond.Status, cond.Reason, cond.Message = status, reason, shorten(fmt.Sprintf(format, args...))
	}
	on := fmt.Sprintf("%d of %s", c.enforced, nodes(desired))
	switch {
	case len(c.failed) > 0:
		set(metav1.ConditionFalse, ReasonNodesFailed, "Failed on %d of %s: %s. On %s: %s", len(c.failed), nodes(desired), names(c.failed), c.failed[0], c.messages[0])
	case !c.anyReports:
		set(metav1.ConditionUnknown, ReasonNoAgents, "No agent has reported.")
	case early:
		set(metav1.ConditionUnknown, ReasonPending, "Enforced on %s that have reported so far.", on)
	case len(c.silent) > 0:
		set(metav1.ConditionUnknown, ReasonAgentsSilent, "Enforced on %s; the agents of %s are silent: %s. Their kernels keep the rules that they have.", on, nodes(len(c.silent)), names(c.silent))
	case len(c.waiting) > 0:
		set(metav1.ConditionUnknown, ReasonPending, "Enforced on %s; not reported yet by %s.", on, names(c.waiting))
	case len(c.truncatedAndNotNamed) > 0:
		set(metav1.ConditionUnknown, ReasonTruncated, "Enforced on %s; the reports of %s name only some of their policies: %s.", on, nodes(len(c.truncatedAndNotNamed)), names(c.truncatedAndNotNamed))
	case !ok:
		set(metav1.ConditionFalse, ReasonNotAccepted, "Enforced on %s, in a form that widens no access: see condition Accepted.", on)
	case audit:
		set(metav1.ConditionFalse, ReasonAudit, "Evaluated and counted on %s, and not applied: enforcement is Audit.", on)
	case desired == 0:
		set(metav1.ConditionTrue, ReasonNoEndpoints, "The policy selects no endpoint at present.")
	default:
		set(metav1.ConditionTrue, ReasonEnforced, "Enforced on %s.", on)
	}
	return cond, counts
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// names lists up to ten.
func names(list []string) string {
	if len(list) <= maxNodeNames {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:maxNodeNames], ", "), len(list)-maxNodeNames)
}
