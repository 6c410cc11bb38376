package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Keys by which Cilium's selectors reach beyond a pod's own labels.
const (
	ciliumNamespaceKey     = "io.kubernetes.pod.namespace"
	ciliumNamespaceLabels  = "io.cilium.k8s.namespace.labels."
	ciliumServiceAccount   = "io.cilium.k8s.policy.serviceaccount"
	ciliumReserved         = "reserved"
	labelOfNamespaceName   = "kubernetes.io/metadata.name"
	labelOfServiceAccount  = "tierwall.io/serviceaccount"
	labelOfNodeName        = "kubernetes.io/hostname"
	ciliumClusterKeyPrefix = "io.cilium.k8s.policy."
)

// ciliumTerms is a selector of Cilium's, taken apart.
type ciliumTerms struct {
	// own are terms over the pod's labels and its service account.
	own []string
	// namespaceName and namespaceLabels are terms over its namespace. Without
	// any of them, the namespace of a namespaced policy is meant.
	namespaceName, namespaceLabels []string
	// missing are keys without equivalent, in order. The terms match more then.
	missing []string
	// reserved is the one reserved label that the selector consists of.
	reserved string
	// never reports that no pod can match.
	never bool
}

// inNamespaces are the terms for a namespaceSelector; nil if there are none.
func (c *ciliumTerms) inNamespaces() []string {
	return append(slices.Clone(c.namespaceName), c.namespaceLabels...)
}

// ciliumSelector takes a selector apart. Nil selects everything.
func ciliumSelector(s *metav1.LabelSelector) (ciliumTerms, error) {
	var out ciliumTerms
	if s == nil {
		return out, nil
	}
	var all []metav1.LabelSelectorRequirement
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		all = append(all, metav1.LabelSelectorRequirement{Key: k, Operator: "==", Values: []string{s.MatchLabels[k]}})
	}
	all = append(all, s.MatchExpressions...)
	for _, r := range all {
		source, key, found := strings.Cut(r.Key, ":")
		switch {
		case !found:
			key = source
		case source == ciliumReserved && len(all) == 1 && len(s.MatchExpressions) == 0 && r.Values[0] == "":
			out.reserved = key
			return out, nil
		case source != "k8s" && source != "any":
			out.missing = append(out.missing, r.Key)
			continue
		}
		into := &out.own
		switch {
		case key == ciliumNamespaceKey:
			into, r.Key = &out.namespaceName, labelOfNamespaceName
			out.never = out.never || r.Operator == metav1.LabelSelectorOpDoesNotExist
		case strings.HasPrefix(key, ciliumNamespaceLabels):
			into, r.Key = &out.namespaceLabels, strings.TrimPrefix(key, ciliumNamespaceLabels)
		case key == ciliumServiceAccount:
			r.Key = labelOfServiceAccount
		case strings.HasPrefix(key, ciliumClusterKeyPrefix):
			out.missing = append(out.missing, r.Key)
			continue
		default:
			r.Key = key
		}
		term, err := ciliumTerm(r)
		if err != nil {
			return out, err
		}
		*into = append(*into, term)
	}
	return out, nil
}

// ciliumTerm is one requirement in the selector language.
func ciliumTerm(r metav1.LabelSelectorRequirement) (string, error) {
	if r.Operator == "==" {
		terms, err := labelTerms(&metav1.LabelSelector{MatchLabels: map[string]string{r.Key: r.Values[0]}})
		if err != nil {
			return "", err
		}
		return terms[0], nil
	}
	term, err := expressionTerm(r)
	if err != nil {
		return "", fmt.Errorf("matchExpressions, key %s: %w", r.Key, err)
	}
	return term, nil
}
