package convert

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// The model looks every label up in one place: an owner's own labels as they
// are, those of its namespace under ns:, those of its service account under
// sa:, and the kind of the owner under :kind. The functions of this file
// rewrite selectors to that form and add the scope in which they are meant. They
// work on trees; text is never put together and parsed again.

// oldLabels maps the spellings of the model API's implicit labels to ours.
var oldLabels = map[string]string{
	"projectcalico.org/namespace":      model.LabelNamespace,
	"projectcalico.org/name":           model.LabelName,
	"projectcalico.org/orchestrator":   model.LabelOrchestrator,
	"projectcalico.org/serviceaccount": model.LabelServiceAccount,
}

func canonicalKey(k string) string {
	if n, ok := oldLabels[k]; ok {
		return n
	}
	return k
}

// The terms of which scopes are made.
var (
	isPod          = selector.Equal(model.LabelKind, model.OwnerPod)
	isHostEndpoint = selector.Equal(model.LabelKind, model.OwnerHostEndpoint)
	isEndpoint     = selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)
	isNode         = selector.Equal(model.LabelKind, model.OwnerNode)
	// notNode matches all owners that ordinary selectors may match. Nodes are
	// reachable by the nodes peers of ClusterNetworkPolicies alone.
	notNode = selector.NotEqual(model.LabelKind, model.OwnerNode)
	// notOfNamespaces matches those of them that rules of global policies mean without
	// a namespaceSelector: NetworkSets of namespaces, which others write, are left out.
	notOfNamespaces = selector.NotIn(model.LabelKind, model.OwnerNode, model.OwnerNamespacedSet)
	// inSomeNamespace matches owners in any namespace; its opposite is what
	// global() means.
	inSomeNamespace = selector.Has(model.LabelNamespace)
	inNoNamespace   = selector.Not(inSomeNamespace)
	// hasAccount matches pods that run as a service account.
	hasAccount = selector.And(isPod, selector.Has(model.LabelServiceAccount))
)

// inNamespace matches the owners in one namespace.
func inNamespace(name string) *selector.Selector { return selector.Equal(model.LabelNamespace, name) }

// parse reads a selector of a Tierwall kind. The result is nil if that failed,
// which is then reported. Keys with a colon, which would reach the core's own
// labels, do not parse.
func (r *report) parse(path *field.Path, text string) *selector.Selector {
	s, err := selector.Parse(text)
	if err != nil {
		r.errorf(path, "invalid selector %s: %v", quote(text), err)
		return nil
	}
	for _, k := range s.Keys() {
		if !isLabelKey(k) {
			r.warnf(path, "invalid label key %s: no object has it", quote(k))
		}
	}
	return s
}

// ownLabels rewrites a selector over an owner's own labels.
func ownLabels(s *selector.Selector) *selector.Selector {
	return s.RewriteKeys(canonicalKey).ReplaceGlobal(inNoNamespace)
}

// namespaceLabels rewrites a selector over the labels of namespaces to one over
// the owners in them. Negative terms do not reach owners in no namespace,
// except where the selector speaks of those itself, with global().
func namespaceLabels(s *selector.Selector) *selector.Selector {
	global := s.HasGlobal()
	s = s.RewriteKeys(func(k string) string { return model.PrefixNamespace + canonicalKey(k) }).
		ReplaceGlobal(inNoNamespace)
	if global {
		return s
	}
	return selector.And(inSomeNamespace, s)
}

// accountLabels rewrites a selector over the labels of service accounts to one
// over the pods that run as them.
func accountLabels(s *selector.Selector) *selector.Selector {
	s = s.RewriteKeys(func(k string) string { return model.PrefixServiceAccount + canonicalKey(k) }).
		ReplaceGlobal(inNoNamespace)
	return selector.And(hasAccount, s)
}

// parseNamespaces and parseAccounts are parse for selectors over namespaces
// and service accounts, with the rewriting.
func (r *report) parseNamespaces(path *field.Path, text string) *selector.Selector {
	s := r.parse(path, text)
	if s == nil {
		return nil
	}
	global := s.HasGlobal() // Keys names the namespace label for it
	for _, k := range s.Keys() {
		if canonicalKey(k) == model.LabelNamespace && !global {
			r.warnf(path, "namespaces have no label %s: their name is %s", k, model.LabelName)
		}
	}
	return namespaceLabels(s)
}

func (r *report) parseAccounts(path *field.Path, text string) *selector.Selector {
	s := r.parse(path, text)
	if s == nil {
		return nil
	}
	return accountLabels(s)
}

// policyScope is the selector of a Tierwall policy's endpoints. A part that
// cannot be understood leaves no mark on the result, which then selects more,
// and is reported.
func (r *report) policyScope(path *field.Path, spec *v1alpha1.GlobalNetworkPolicySpec, namespaced bool) *selector.Selector {
	var own, namespaces, accounts *selector.Selector
	podsOnly := namespaced
	if spec.Selector != "" {
		own = r.parse(path.Child("selector"), spec.Selector)
	}
	if spec.NamespaceSelector != "" {
		namespaces = r.parseNamespaces(path.Child("namespaceSelector"), spec.NamespaceSelector)
	}
	if spec.ServiceAccountSelector != "" {
		accounts = r.parseAccounts(path.Child("serviceAccountSelector"), spec.ServiceAccountSelector)
		podsOnly = podsOnly || accounts != nil
	}
	var terms []*selector.Selector
	switch {
	case spec.DoNotTrack || spec.PreDNAT:
		terms = append(terms, isHostEndpoint)
	case podsOnly:
		terms = append(terms, isPod)
	default:
		terms = append(terms, isEndpoint)
	}
	if namespaced {
		terms = append(terms, inNamespace(r.ref.Namespace))
	}
	if namespaces != nil {
		terms = append(terms, namespaces)
	}
	if accounts != nil {
		terms = append(terms, accounts)
	}
	if own != nil {
		terms = append(terms, ownLabels(own))
	}
	return selector.And(terms...)
}

// sideScope is what the selectors of one side of a Tierwall rule mean: the
// set that the address must be in and the set that it must not be in. Either is
// nil if the side does not ask for it. Both are scoped alike: by the side's
// namespaceSelector, or else by the namespace of a namespaced policy. Without either,
// NetworkSets of namespaces do not count, unless the selector itself names the
// label of namespaces.
func (r *report) sideScope(path *field.Path, e *v1alpha1.EntityRule, namespaced bool) (in, notIn *selector.Selector) {
	var namespaces *selector.Selector // nil: any, and none
	said := true                      // it is said of which namespaces things are meant
	positive := false
	switch {
	case e.NamespaceSelector != "":
		positive = true
		namespaces = r.parseNamespaces(path.Child("namespaceSelector"), e.NamespaceSelector)
	case namespaced:
		namespaces = inNamespace(r.ref.Namespace)
	default:
		said = false
	}
	scope := func(s *selector.Selector) []*selector.Selector {
		terms := []*selector.Selector{notNode}
		if !said && !namesNamespaces(s) {
			terms[0] = notOfNamespaces
		}
		if namespaces != nil {
			terms = append(terms, namespaces)
		}
		return terms
	}
	var terms []*selector.Selector
	if e.Selector != "" {
		positive = true
		if s := r.parse(path.Child("selector"), e.Selector); s != nil {
			terms = append(scope(s), ownLabels(s))
		}
	}
	if terms == nil {
		terms = scope(nil)
	}
	if e.ServiceAccounts != nil {
		positive = true
		terms = append(terms, r.serviceAccounts(path.Child("serviceAccounts"), e.ServiceAccounts)...)
	}
	if e.NotSelector != "" {
		if s := r.parse(path.Child("notSelector"), e.NotSelector); s != nil {
			notIn = selector.And(append(scope(s), ownLabels(s))...)
		}
	}
	if positive {
		in = selector.And(terms...)
	}
	return in, notIn
}

// namesNamespaces reports whether a selector, as it is written, names the label of
// namespaces or has global(): then it says itself of which namespaces things are meant.
func namesNamespaces(s *selector.Selector) bool {
	return s != nil && (s.HasGlobal() || slices.ContainsFunc(s.Keys(), func(k string) bool { return canonicalKey(k) == model.LabelNamespace }))
}

// serviceAccounts matches the pods that run as certain service accounts.
func (r *report) serviceAccounts(path *field.Path, m *v1alpha1.ServiceAccountMatch) []*selector.Selector {
	if len(m.Names) == 0 && m.Selector == "" {
		r.errorf(path, "is empty: want names or a selector")
		return nil
	}
	var terms []*selector.Selector
	if len(m.Names) > 0 {
		var names []string
		for i, n := range m.Names {
			at := path.Child("names").Index(i)
			switch {
			case !isDNSSubdomain(n):
				r.errorf(at, "invalid value %s: want the name of a service account", quote(n))
			case slices.Contains(names, n):
				r.warnf(at, "duplicate value %s", n)
			default:
				names = append(names, n)
			}
		}
		terms = append(terms, isPod, selector.In(model.LabelServiceAccount, names...))
	}
	if m.Selector != "" {
		if s := r.parseAccounts(path.Child("selector"), m.Selector); s != nil {
			terms = append(terms, s)
		}
	}
	return terms
}

// labelSelector converts a Kubernetes label selector over own labels (prefix
// "") or namespaces' labels. Nil means that it is invalid, which is reported;
// an empty label selector matches everything.
func (r *report) labelSelector(path *field.Path, ls *metav1.LabelSelector, prefix string) *selector.Selector {
	before := r.errors
	terms := make([]*selector.Selector, 0, len(ls.MatchLabels)+len(ls.MatchExpressions))
	keys := make([]string, 0, len(ls.MatchLabels))
	for k := range ls.MatchLabels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		at := path.Child("matchLabels").Key(pathKey(k))
		r.checkLabelKey(at, k)
		r.checkLabelValue(at, ls.MatchLabels[k])
		terms = append(terms, selector.Equal(prefix+k, ls.MatchLabels[k]))
	}
	for i := range ls.MatchExpressions {
		e := &ls.MatchExpressions[i]
		at := path.Child("matchExpressions").Index(i)
		r.checkLabelKey(at.Child("key"), e.Key)
		for j, v := range e.Values {
			r.checkLabelValue(at.Child("values").Index(j), v)
		}
		key := prefix + e.Key
		switch e.Operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
			if len(e.Values) == 0 {
				r.errorf(at.Child("values"), "is empty: operator %s requires at least one value", e.Operator)
				continue
			}
			if e.Operator == metav1.LabelSelectorOpIn {
				terms = append(terms, selector.In(key, e.Values...))
			} else {
				terms = append(terms, selector.NotIn(key, e.Values...))
			}
		case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
			if len(e.Values) > 0 {
				r.errorf(at.Child("values"), "has %s: operator %s allows none", quote(e.Values[0]), e.Operator)
				continue
			}
			if e.Operator == metav1.LabelSelectorOpExists {
				terms = append(terms, selector.Has(key))
			} else {
				terms = append(terms, selector.Not(selector.Has(key)))
			}
		default:
			r.errorf(at.Child("operator"), "unsupported value %s: want %s", quote(string(e.Operator)),
				list(metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist))
		}
	}
	if r.errors > before {
		return nil
	}
	if len(terms) == 0 {
		return selector.All()
	}
	return selector.And(terms...)
}

func (r *report) checkLabelKey(path *field.Path, k string) {
	if !isLabelKey(k) {
		r.errorf(path, "invalid label key %s", quote(k))
	}
}

func (r *report) checkLabelValue(path *field.Path, v string) {
	if !isLabelValue(v) {
		r.errorf(path, "invalid label value %s: want at most 63 characters a-z, A-Z, 0-9, '-', '_' or '.', first and last a letter or digit", quote(v))
	}
}
