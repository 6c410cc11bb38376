package operator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The conditions of a Tierwall object.
const (
	// ConditionAvailable: agents enforce policy on the nodes, but for a tenth at
	// most that may be away during a rollout.
	ConditionAvailable = "Available"
	// ConditionProgressing: agents are being installed, replaced or removed.
	ConditionProgressing = "Progressing"
	// ConditionDegraded: something does not work and will not get well by waiting.
	ConditionDegraded = "Degraded"
)

// The reasons of these conditions.
const (
	ReasonAgentsAvailable   = "AgentsAvailable"
	ReasonAgentsUnavailable = "AgentsUnavailable"
	ReasonAgentsFailing     = "AgentsFailing"
	ReasonNoNodes           = "NoNodes"
	ReasonRollingOut        = "RollingOut"
	ReasonRolledOut         = "RolledOut"
	ReasonNotApplied        = "NotApplied"
	ReasonAsDesired         = "AsDesired"
	ReasonCleaningUp        = "CleaningUp"
	ReasonNotCleaned        = "NodesNotCleaned"
)

// readyWithin is how long an agent may take to become ready before it counts as failing.
const readyWithin = 5 * time.Minute

// situation is what the conditions are computed from.
type situation struct {
	generation int64
	ds         *appsv1.DaemonSet // nil: there is none yet
	pods       []corev1.Pod
	applyErr   error // why an object could not be brought in order
	now        time.Time
}

// assess computes the conditions, and after how long they have to be looked at
// again though nothing happens; 0: never.
func assess(s situation) (conditions []metav1.Condition, again time.Duration) {
	failing, again := failures(s.pods, s.now)
	return []metav1.Condition{available(s), progressing(s), degraded(s, failing)}, again
}

func condition(s situation, kind string, status bool, reason, message string) metav1.Condition {
	c := metav1.Condition{
		Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message,
		ObservedGeneration: s.generation, LastTransitionTime: metav1.NewTime(s.now),
	}
	if status {
		c.Status = metav1.ConditionTrue
	}
	return c
}

// counts are the numbers of a DaemonSet's status, all nil-safe.
func (s situation) counts() appsv1.DaemonSetStatus {
	if s.ds == nil {
		return appsv1.DaemonSetStatus{}
	}
	return s.ds.Status
}

// observed reports whether a DaemonSet's status speaks of its current spec. Its
// controller has seen it at least once then.
func observed(ds *appsv1.DaemonSet) bool {
	return ds != nil && ds.Status.ObservedGeneration > 0 && ds.Status.ObservedGeneration >= ds.Generation
}

func available(s situation) metav1.Condition {
	n := s.counts()
	have := fmt.Sprintf("%d of %d agents are available", n.NumberAvailable, n.DesiredNumberScheduled)
	switch missing := n.DesiredNumberScheduled - n.NumberAvailable; {
	case !observed(s.ds) && n.DesiredNumberScheduled == 0:
		return condition(s, ConditionAvailable, false, ReasonRollingOut, "the agents' DaemonSet is new")
	case n.DesiredNumberScheduled == 0:
		return condition(s, ConditionAvailable, false, ReasonNoNodes, "no node is for the agents: see spec.agent.nodeSelector and spec.agent.tolerations")
	case n.NumberAvailable == 0 || missing > allowance(n.DesiredNumberScheduled):
		return condition(s, ConditionAvailable, false, ReasonAgentsUnavailable, have)
	}
	return condition(s, ConditionAvailable, true, ReasonAgentsAvailable, have)
}

// allowance is how many agents may be away in a rollout: a tenth, rounded up.
func allowance(desired int32) int32 { return (desired + 9) / 10 }

func progressing(s situation) metav1.Condition {
	n := s.counts()
	switch {
	case s.applyErr != nil && s.ds == nil:
		return condition(s, ConditionProgressing, true, ReasonNotApplied, "the agents' DaemonSet is not there yet")
	case !observed(s.ds):
		return condition(s, ConditionProgressing, true, ReasonRollingOut, "the agents' DaemonSet has changed")
	case n.UpdatedNumberScheduled < n.DesiredNumberScheduled:
		return condition(s, ConditionProgressing, true, ReasonRollingOut,
			fmt.Sprintf("%d of %d agents are of the current version", n.UpdatedNumberScheduled, n.DesiredNumberScheduled))
	case n.NumberAvailable < n.DesiredNumberScheduled:
		return condition(s, ConditionProgressing, true, ReasonRollingOut,
			fmt.Sprintf("%d of %d agents are available", n.NumberAvailable, n.DesiredNumberScheduled))
	}
	return condition(s, ConditionProgressing, false, ReasonRolledOut,
		fmt.Sprintf("all %d agents are of the current version", n.DesiredNumberScheduled))
}

func degraded(s situation, failing []string) metav1.Condition {
	switch {
	case s.applyErr != nil:
		return condition(s, ConditionDegraded, true, ReasonNotApplied, clip(s.applyErr.Error()))
	case len(failing) > 0:
		return condition(s, ConditionDegraded, true, ReasonAgentsFailing,
			clip(fmt.Sprintf("%d of %d agents fail: %s", len(failing), s.counts().DesiredNumberScheduled, upToTen(failing))))
	}
	return condition(s, ConditionDegraded, false, ReasonAsDesired, "everything is as it should be")
}

// clip keeps a message at a length that people read.
func clip(s string) string { return clipTo(s, 2000) }

func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// upToTen lists sorted strings, ten at most, and counts the others.
func upToTen(all []string) string {
	if len(all) <= 10 {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:10], ", "), len(all)-10)
}

// failures lists the agents that will not get well by waiting, as "node (why)",
// sorted, and says after how long one may have to be added.
func failures(pods []corev1.Pod, now time.Time) (failing []string, again time.Duration) {
	for i := range pods {
		p := &pods[i]
		if p.DeletionTimestamp != nil || ready(p) {
			continue
		}
		why := stuck(p)
		if why == "" {
			left := readyWithin - now.Sub(notReadySince(p))
			if left > 0 {
				if again == 0 || left < again {
					again = left
				}
				continue
			}
			why = "not ready for " + readyWithin.String()
		}
		failing = append(failing, fmt.Sprintf("%s (%s)", nodeOf(p), why))
	}
	slices.Sort(failing)
	return failing, again
}

// stuck says why a pod will not start, if the kubelet says so.
func stuck(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		w := c.State.Waiting
		if w == nil {
			continue
		}
		switch w.Reason {
		case "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull",
			"CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return w.Reason
		}
	}
	return ""
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func ready(p *corev1.Pod) bool {
	c := podCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

func notReadySince(p *corev1.Pod) time.Time {
	if c := podCondition(p, corev1.PodReady); c != nil && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	return p.CreationTimestamp.Time
}

// nodeOf is the node that a DaemonSet's pod is for. Before the scheduler has
// bound the pod, the DaemonSet's own affinity tells.
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, t := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, f := range t.MatchFields {
				if f.Key == metav1.ObjectNameField && len(f.Values) == 1 {
					return f.Values[0]
				}
			}
		}
	}
	return "Pod/" + p.Namespace + "/" + p.Name
}
