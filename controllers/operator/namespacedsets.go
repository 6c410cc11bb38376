package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
)

// conditionNamespacedSets is True if rules of global policies count NetworkSets only where they
// say of which namespaces.
const conditionNamespacedSets = "NamespacedSetsSelected"

// The reasons of this condition, beside SetInSpec.
const (
	reasonSelected               = "Selected"
	reasonEverywhereSinceUpgrade = "EverywhereSinceUpgrade"
)

const (
	// affectedEvery is how often the rules that depend on the setting are looked for.
	affectedEvery = 5 * time.Minute
	// maxAffected is how many of them the condition names.
	maxAffected = 20
)

// affected are the rules of global policies that depend on spec.namespacedSets, as of
// some time.
type affected struct {
	at   time.Time
	list []lint.Finding
}

// namespacedSets reports in which rules NetworkSets count, and which rules a switch to
// Selected changes. again is after how long it is to be looked at again; 0: never.
func (r *reconciler) namespacedSets(ctx context.Context, s situation, tw *v1alpha1.Tierwall) (c metav1.Condition, again time.Duration, err error) {
	obj, _, _ := convert.Object(tw)
	settings, ok := obj.(*model.Settings)
	if !ok || !settings.NamespacedSetsEverywhere {
		return condition(s, conditionNamespacedSets, true, reasonSelected,
			"rules of global policies count NetworkSets only where they say of which namespaces"), 0, nil
	}
	if s.now.Sub(r.affected.at) >= affectedEvery {
		list, err := r.findAffected(ctx, tw)
		if err != nil {
			return metav1.Condition{}, 0, err
		}
		r.affected = affected{at: s.now, list: list}
	}
	reason := reasonSetInSpec
	if m := tw.Spec.NamespacedSets; m == "" || m == v1alpha1.NamespacedSetsAuto {
		reason = reasonEverywhereSinceUpgrade
	}
	return condition(s, conditionNamespacedSets, false, reason, affectedMessage(r.affected.list)), affectedEvery, nil
}

// findAffected reads what the finding of affected rules needs.
func (r *reconciler) findAffected(ctx context.Context, tw *v1alpha1.Tierwall) ([]lint.Finding, error) {
	var policies v1alpha1.GlobalNetworkPolicyList
	if err := r.reader.List(ctx, &policies); err != nil {
		return nil, fmt.Errorf("listing GlobalNetworkPolicies: %w", err)
	}
	var sets v1alpha1.NetworkSetList
	if err := r.reader.List(ctx, &sets); err != nil {
		return nil, fmt.Errorf("listing NetworkSets: %w", err)
	}
	objects := []runtime.Object{tw}
	for i := range policies.Items {
		objects = append(objects, &policies.Items[i])
	}
	for i := range sets.Items {
		objects = append(objects, &sets.Items[i])
	}
	ix := index.New(index.Options{})
	for _, o := range objects {
		if m, _, known := convert.Object(o); known && m != nil {
			ix.Upsert(m)
		}
	}
	ix.Flush()
	return lint.NamespacedSets(ix), nil
}

// affectedMessage names the rules that a switch to Selected changes.
func affectedMessage(list []lint.Finding) string {
	const head = "NetworkSets of all namespaces count in rules of global policies that do not say of which namespaces, so that whoever may write one widens such rules; "
	if len(list) == 0 {
		return head + "no NetworkSet matches such a rule now: set spec.namespacedSets to Selected"
	}
	var names []string
	for _, f := range list[:min(len(list), maxAffected)] {
		names = append(names, f.Object.String()+" "+f.Field)
	}
	text := head + "before you set spec.namespacedSets to Selected, give these a namespaceSelector or do without the sets: " + strings.Join(names, ", ")
	if more := len(list) - maxAffected; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text + " (tierwall lint names the sets)"
}
