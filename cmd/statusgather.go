package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/status"
	"github.com/tierwall/tierwall/policy/model"
)

// wantsAgent says whether a node should run an agent, by the scheduler's rules
// as far as the Tierwall object can make a difference.
func wantsAgent(n *corev1.Node, tw *v1alpha1.Tierwall) bool {
	if tw == nil {
		return false
	}
	if os := n.Labels[corev1.LabelOSStable]; os != string(corev1.Linux) {
		return false
	}
	for k, v := range tw.Spec.Agent.NodeSelector {
		if n.Labels[k] != v {
			return false
		}
	}
	if len(tw.Spec.Agent.Tolerations) == 0 {
		return true // all taints are tolerated
	}
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		// Those of this prefix come and go with the node's state, and every DaemonSet
		// tolerates most of them.
		if t.Effect == corev1.TaintEffectPreferNoSchedule || strings.HasPrefix(t.Key, "node.kubernetes.io/") {
			continue
		}
		if !slices.ContainsFunc(tw.Spec.Agent.Tolerations, func(tol corev1.Toleration) bool { return tolerates(&tol, t) }) {
			return false
		}
	}
	return true
}

// tolerates says whether a toleration is for a taint.
func tolerates(tol *corev1.Toleration, t *corev1.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect || tol.Key != "" && tol.Key != t.Key {
		return false
	}
	switch tol.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return tol.Value == t.Value && tol.Key != ""
	}
	return false
}

// agents reads the agents' reports.
func (r *statusReport) agents(ctx context.Context, c client.Reader, tw *v1alpha1.Tierwall, now time.Time) error {
	wanted, there, err := statusNodes(ctx, c, tw)
	if err != nil && !errors.Is(err, errNoNodes) {
		return err
	}
	known := err == nil
	if !known {
		r.Notes = append(r.Notes, "permission missing: list nodes; nodes without a report are not noticed")
	}
	for next := ""; ; {
		var list v1alpha1.NodeReportList
		if err := c.List(ctx, &list, client.Limit(100), client.Continue(next)); err != nil {
			return readError("node reports", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			delete(wanted, o.Name)
			if known && !there[o.Name] {
				continue // the node is gone, and its report will be
			}
			r.agent(o, now)
		}
		if next = list.Continue; next == "" {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		r.Agents = append(r.Agents, statusAgent{Node: name, State: agentMissing})
		r.problem("Node/"+name, "no agent has reported: policies may not be enforced there")
	}
	slices.SortFunc(r.Agents, func(a, b statusAgent) int { return cmp.Compare(a.Node, b.Node) })
	return nil
}

// agent adds the agent of one node.
func (r *statusReport) agent(o *v1alpha1.NodeReport, now time.Time) {
	age := now.Sub(o.Report.RenewTime.Time)
	a := statusAgent{Node: o.Name, State: agentOK, AgeSeconds: max(0, int64(age/time.Second)), Report: o.Report}
	name := "Node/" + o.Name
	switch {
	case status.Silent(&o.Report, age):
		a.State = agentSilent
		r.problem(name, "no report of the agent since %s; the kernel keeps its current rules", o.Report.RenewTime.UTC().Format(time.RFC3339))
	case !o.Report.InSync:
		a.State = agentNotInSync
		r.problem(name, "the kernel does not have all current rules")
	case len(o.Report.Errors)+len(o.Report.Failed) > 0:
		a.State = agentErrors
	}
	if n := o.Report.Counts.Ghosts; n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s: %d addresses belong to pods whose objects are gone and that may still run%s; their traffic is denied", name, n, ghostNames(o.Report.Ghosts)))
	}
	for _, e := range o.Report.Errors {
		r.problem(name, "%s: %s", e.Kind, e.Message)
	}
	for _, f := range o.Report.Failed {
		// The status of those that have one says it, for all nodes at once.
		if ref, err := model.ParseRef(f.Policy); err == nil && (ref.Kind == model.KindNetworkPolicy || ref.Kind == model.KindClusterNetworkPolicy) {
			r.problem(name, "%s is not enforced: %s", f.Policy, f.Message)
		}
	}
	r.Agents = append(r.Agents, a)
}

// ghostNames names the first of a node's ghosts.
func ghostNames(list []v1alpha1.ReportedGhost) string {
	const most = 3
	var names []string
	for _, g := range list[:min(len(list), most)] {
		names = append(names, fmt.Sprintf("%s (%s)", plain(g.Pod), plain(g.Address)))
	}
	if len(names) == 0 {
		return ""
	}
	return ", among them " + strings.Join(names, ", ")
}

// policies reads the status of the policies.
func (r *statusReport) policies(ctx context.Context, c client.Reader) error {
	for next := ""; ; {
		var list v1alpha1.GlobalNetworkPolicyList
		if err := c.List(ctx, &list, client.Limit(500), client.Continue(next)); err != nil {
			return readError("GlobalNetworkPolicies", err)
		}
		for i := range list.Items {
			p := &list.Items[i]
			r.policy(model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: p.Name}, p.Generation, &p.Status)
		}
		if next = list.Continue; next == "" {
			break
		}
	}
	for next := ""; ; {
		var list v1alpha1.NetworkPolicyList
		if err := c.List(ctx, &list, client.Limit(500), client.Continue(next)); err != nil {
			return readError("NetworkPolicies of tierwall.io", err)
		}
		for i := range list.Items {
			p := &list.Items[i]
			r.policy(model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: p.Namespace, Name: p.Name}, p.Generation, &p.Status)
		}
		if next = list.Continue; next == "" {
			break
		}
	}
	return nil
}

// policy adds one policy.
func (r *statusReport) policy(ref model.Ref, generation int64, st *v1alpha1.PolicyStatus) {
	r.Policies.Total++
	accepted, enforced := meta.FindStatusCondition(st.Conditions, status.Accepted), meta.FindStatusCondition(st.Conditions, status.Enforced)
	bad := statusPolicy{Policy: ref.String()}
	if st.Nodes != nil {
		bad.Ready = st.Nodes.Ready
	}
	switch {
	case accepted == nil || enforced == nil || st.ObservedGeneration != generation:
		bad.Reason, bad.Message = "NotObserved", "the manager has not looked at this version of the policy yet"
	case accepted.Status != metav1.ConditionTrue:
		bad.Reason, bad.Message = accepted.Reason, accepted.Message
	case enforced.Status == metav1.ConditionTrue:
		r.Policies.Enforced++
		return
	case enforced.Reason == status.ReasonAudit:
		r.Policies.Audited++
		return
	default:
		bad.Reason, bad.Message = enforced.Reason, enforced.Message
	}
	r.Policies.NotEnforced = append(r.Policies.NotEnforced, bad)
	r.problem(bad.Policy, "%s: %s", bad.Reason, bad.Message)
}
