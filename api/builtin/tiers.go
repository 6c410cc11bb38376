// Package builtin has the tiers that every cluster has, with or without an object of
// their name. Their orders and default actions are fixed. It imports nothing, so that
// the API types, the core and the manager share one table.
//
// The rules of the CustomResourceDefinition of Tier repeat it (api/v1alpha1,
// tier_types.go); a test compares them.
package builtin

import "slices"

// Names of the built-in tiers.
const (
	KubeAdmin    = "kube-admin"
	Default      = "default"
	KubeBaseline = "kube-baseline"
)

// Tier is a built-in tier.
type Tier struct {
	Name  string
	Order float64
	// Pass: its default action is Pass; else it is Deny.
	Pass bool
}

// Tiers returns the built-in tiers in order.
func Tiers() []Tier {
	return []Tier{
		{Name: KubeAdmin, Order: 1000, Pass: true},
		{Name: Default, Order: 1_000_000},
		{Name: KubeBaseline, Order: 10_000_000, Pass: true},
	}
}

// IsTier reports whether a name is that of a built-in tier.
func IsTier(name string) bool {
	return slices.ContainsFunc(Tiers(), func(t Tier) bool { return t.Name == name })
}

// TierNames are the names of the built-in tiers, in order.
func TierNames() []string {
	var out []string
	for _, t := range Tiers() {
		out = append(out, t.Name)
	}
	return out
}
