package operator

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// The conditions of the guards, and of the tunnels between nodes.
const (
	// ConditionGuardsEnforced: all guards drop what they find.
	ConditionGuardsEnforced = "GuardsEnforced"
	// ConditionTunnelFailsafe: host endpoints' policies cannot close the tunnels of
	// the pod network.
	ConditionTunnelFailsafe = "TunnelFailsafe"
	// ConditionBudgetsEnforced: what is past a budget is not enforced as it is written.
	ConditionBudgetsEnforced = "BudgetsEnforced"
)

// The reasons of these conditions.
const (
	reasonEnforced             = "Enforced"
	reasonCountingSinceUpgrade = "CountingSinceUpgrade"
	reasonSetInSpec            = "SetInSpec"
	reasonOpenByDefault        = "OpenByDefault"
)

// decide writes what Auto means in this installation, once: in a new one guards and
// budgets are enforced and NetworkSets count where they are selected; where a version
// without the setting has been installed before, guards and budgets count only, and
// NetworkSets everywhere.
// It comes before the agents are installed, so that their DaemonSet does not hide
// that the installation is new.
func (r *reconciler) decide(ctx context.Context, tw *v1alpha1.Tierwall) error {
	if tw.Status.Guards != "" && tw.Status.NamespacedSets != "" && tw.Status.Budgets != "" {
		return nil
	}
	upgraded, err := r.upgraded(ctx, tw)
	if err != nil {
		return err
	}
	before := tw.DeepCopy()
	guards, sets := v1alpha1.GuardEnforce, v1alpha1.NamespacedSetsSelected
	if upgraded {
		guards, sets = v1alpha1.GuardCount, v1alpha1.NamespacedSetsEverywhere
	}
	tw.Status.Guards = cmp.Or(tw.Status.Guards, guards)
	tw.Status.Budgets = cmp.Or(tw.Status.Budgets, guards)
	tw.Status.NamespacedSets = cmp.Or(tw.Status.NamespacedSets, sets)
	// The lock refuses a decision that rests on an object from a cache that lags
	// behind: the decision may have been written already, and agents installed.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.client.Status().Patch(ctx, tw, patch, client.FieldOwner(FieldOwner)); err != nil {
		return fmt.Errorf("writing the status of Tierwall/%s: %w", tw.Name, err)
	}
	return nil
}

// upgraded reports whether Tierwall has been installed before: an operator has
// written a status, or the agents' DaemonSet exists.
func (r *reconciler) upgraded(ctx context.Context, tw *v1alpha1.Tierwall) (bool, error) {
	if tw.Status.ObservedGeneration != 0 || len(tw.Status.Conditions) > 0 {
		return true, nil
	}
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: AgentName}, &appsv1.DaemonSet{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reading DaemonSet/%s/%s: %w", r.namespace, AgentName, err)
	}
	return true, nil
}

// guardConditions reports what the settings make of the guards and the tunnels.
func guardConditions(s situation, tw *v1alpha1.Tierwall) []metav1.Condition {
	obj, _, _ := convert.Object(tw)
	settings, ok := obj.(*model.Settings)
	if !ok {
		return nil
	}
	return []metav1.Condition{guardsEnforced(s, tw, &settings.Guards), tunnelFailsafe(s, &settings.Guards), budgetsEnforced(s, tw, &settings.Budgets)}
}

// budgetsEnforced reports what becomes of objects past a budget.
func budgetsEnforced(s situation, tw *v1alpha1.Tierwall, b *model.Budgets) metav1.Condition {
	switch {
	case b.Mode == model.GuardEnforce:
		return condition(s, ConditionBudgetsEnforced, true, reasonEnforced,
			fmt.Sprintf("the objects of a namespace may have %d entries, and those of all namespaces %d on a node", b.Namespace, b.Node))
	case tw.Spec.Budgets.Mode == "" || tw.Spec.Budgets.Mode == v1alpha1.GuardAuto:
		return condition(s, ConditionBudgetsEnforced, false, reasonCountingSinceUpgrade,
			"budgets count only since the upgrade: set spec.budgets.mode to Enforce to have what is past them deny")
	}
	return condition(s, ConditionBudgetsEnforced, false, reasonSetInSpec, "spec.budgets.mode is "+b.Mode.String())
}

func guardsEnforced(s situation, tw *v1alpha1.Tierwall, g *model.Guards) metav1.Condition {
	var counting, set []string
	for _, c := range []struct {
		name model.GuardName
		spec v1alpha1.GuardMode
	}{
		{model.GuardSourceName, tw.Spec.SourceGuard},
		{model.GuardLinkName, tw.Spec.LinkGuard},
		{model.GuardEncapsulationName, tw.Spec.EncapsulationGuard},
		{model.GuardWildcardName, tw.Spec.WildcardGuard},
	} {
		switch mode := g.Of(c.name); {
		case mode == model.GuardEnforce:
		case c.spec == "" || c.spec == v1alpha1.GuardAuto:
			counting = append(counting, c.name.Setting())
		default:
			set = append(set, c.name.Setting()+" is "+mode.String())
		}
	}
	var text []string
	reason := reasonSetInSpec
	if len(counting) > 0 {
		reason = reasonCountingSinceUpgrade
		text = append(text, "guards count only since the upgrade: set "+strings.Join(counting, ", ")+" to Enforce to drop what they count")
	}
	text = append(text, set...)
	if len(text) == 0 {
		return condition(s, ConditionGuardsEnforced, true, reasonEnforced, "all guards drop what they find")
	}
	return condition(s, ConditionGuardsEnforced, false, reason, strings.Join(text, "; "))
}

func tunnelFailsafe(s situation, g *model.Guards) metav1.Condition {
	if g.NoTunnelFailsafe {
		return condition(s, ConditionTunnelFailsafe, false, reasonSetInSpec,
			"spec.failsafe.tunnels is false: host endpoints' policies decide on encapsulated traffic between nodes, and may close the pod network")
	}
	return condition(s, ConditionTunnelFailsafe, true, reasonOpenByDefault,
		"encapsulated traffic between nodes, of the tunnels that they have, passes host endpoints' policies")
}
