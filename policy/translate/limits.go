package translate

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// maxSetDomains is how many names the API accepts in a network set.
const maxSetDomains = 500

// The limits of the API for one rule.
const (
	maxNets    = 256
	maxPorts   = 50
	maxDomains = 50
)

// withinLimits splits rules whose lists are longer than the API accepts into
// consecutive ones that together match the same. Lists of what must not match cannot be
// split and stay as they are.
func withinLimits(rules []v1alpha1.Rule) []v1alpha1.Rule {
	rules = splitRules(rules, maxNets, func(r *v1alpha1.Rule) *[]string { return &r.Source.Nets })
	rules = splitRules(rules, maxNets, func(r *v1alpha1.Rule) *[]string { return &r.Destination.Nets })
	rules = splitRules(rules, maxDomains, func(r *v1alpha1.Rule) *[]string { return &r.Destination.Domains })
	return splitRules(rules, maxPorts, func(r *v1alpha1.Rule) *[]intstr.IntOrString { return &r.Destination.Ports })
}

func splitRules[E any](rules []v1alpha1.Rule, limit int, list func(*v1alpha1.Rule) *[]E) []v1alpha1.Rule {
	if !slices.ContainsFunc(rules, func(r v1alpha1.Rule) bool { return len(*list(&r)) > limit }) {
		return rules
	}
	var out []v1alpha1.Rule
	for i := range rules {
		whole := *list(&rules[i])
		if len(whole) <= limit {
			out = append(out, rules[i])
			continue
		}
		for part := range slices.Chunk(whole, limit) {
			r := rules[i].DeepCopy()
			*list(r) = slices.Clone(part)
			out = append(out, *r)
		}
	}
	return out
}
