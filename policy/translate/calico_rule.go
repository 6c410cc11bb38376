package translate

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
)

// UntranslatedAnnotation is on rules that stand for a foreign rule of which
// something has no equivalent; its value names the fields.
const UntranslatedAnnotation = "tierwall.io/untranslated"

// selectNothing is a selector that no endpoint matches.
const selectNothing = "!all()"

// calicoRules translates the rules of one direction, one for one, so that a rule's index
// stays what it was.
func (t *translation) calicoRules(field string, rules []v1alpha1.Rule, namespaced bool) []v1alpha1.Rule {
	if len(rules) == 0 {
		return nil
	}
	out := make([]v1alpha1.Rule, 0, len(rules))
	for i := range rules {
		path := fmt.Sprintf("%s[%d]", field, i)
		out = append(out, t.calicoRule(path, &rules[i], namespaced))
	}
	return out
}

func (t *translation) calicoRule(field string, in *v1alpha1.Rule, namespaced bool) v1alpha1.Rule {
	r := *in.DeepCopy()
	r.Action = ruleAction(r.Action)
	r.Protocol = protocol(r.Protocol)
	r.NotProtocol = protocol(r.NotProtocol)
	var missing []string
	if r.HTTP != nil {
		r.HTTP = nil
		missing = append(missing, "http")
	}
	for _, side := range []struct {
		name string
		e    *v1alpha1.EntityRule
	}{{"source", &r.Source}, {"destination", &r.Destination}} {
		if len(side.e.Domains) > 0 {
			side.e.Domains = nil
			missing = append(missing, side.name+".domains")
		}
		t.calicoEntity(field+"."+side.name, side.e, namespaced)
	}
	if len(missing) > 0 {
		t.failClosed(field, &r, missing...)
	}
	return r
}

// failClosed makes of a rule that lacks some of its criteria, for want of an
// equivalent, one that never widens access, and notes it: Allow and Log match
// nothing, Deny and Pass deny what the remaining criteria match.
func (t *translation) failClosed(field string, r *v1alpha1.Rule, missing ...string) {
	what := strings.Join(missing, ", ")
	consequence := "the rule denies regardless of it"
	switch r.Action {
	case v1alpha1.Allow:
		consequence = "what needs it is not allowed"
	case v1alpha1.Log:
		consequence = "what needs it is not logged"
	case v1alpha1.Pass:
		consequence = "the rule denies regardless of it, instead of passing on"
	}
	for _, m := range missing {
		t.lose(field+"."+m, "has no equivalent; %s", consequence)
		t.Notes[len(t.Notes)-1].FailsClosed = true
	}
	if r.Metadata == nil {
		r.Metadata = &v1alpha1.RuleMetadata{}
	}
	r.Metadata.Annotations = merged(r.Metadata.Annotations, map[string]string{UntranslatedAnnotation: what})
	switch r.Action {
	case v1alpha1.Allow, v1alpha1.Log:
		*r = v1alpha1.Rule{Metadata: r.Metadata, Action: r.Action, Source: v1alpha1.EntityRule{Selector: selectNothing}}
	case v1alpha1.Pass:
		r.Action = v1alpha1.Deny
	}
}

// calicoEntity rewrites one side of a rule in place.
func (t *translation) calicoEntity(field string, e *v1alpha1.EntityRule, namespaced bool) {
	e.Nets = nets(e.Nets)
	e.NotNets = nets(e.NotNets)
	ports(e.Ports)
	ports(e.NotPorts)
	t.checkSelector(field+".selector", e.Selector)
	t.checkSelector(field+".notSelector", e.NotSelector)
	if sa := e.ServiceAccounts; sa != nil {
		if len(sa.Names) == 0 && sa.Selector == "" {
			e.ServiceAccounts = nil // matches everything there
		} else if len(sa.Names) == 0 && matchesUnlabelled(sa.Selector, "projectcalico.org/serviceaccount") {
			t.lose(field+".serviceAccounts.selector", "in Calico it also matches host endpoints and network sets, because they lack the label; here it matches pods only")
		}
	}
	// Where a namespace is in scope, a negative selector alone means in Calico
	// the endpoints of that scope without those that it matches; here it would
	// mean everything without them.
	if e.NotSelector != "" && e.Selector == "" && e.ServiceAccounts == nil && (namespaced || e.NamespaceSelector != "") {
		e.Selector = "all()"
		t.explain(field+".notSelector", "written out with selector all(): in Calico it is limited to endpoints of the namespaces in scope")
	}
	e.NamespaceSelector = t.namespaceSelector(field+".namespaceSelector", e.NamespaceSelector)
	if !namespaced && e.NamespaceSelector == "" {
		t.everywhere(field, e)
	}
}

// anywhere matches what is in any namespace and what is in none.
const anywhere = "all() || global()"

// maxSelector is the length that the API takes, in bytes.
const maxSelector = 8192

// anyNamespace is true of everything, and says of which namespaces. A selector does not
// lose global() where it is simplified, as it does other terms.
const anyNamespace = "(" + anywhere + ")"

// everywhere writes out that in Calico the selectors of a global rule without a
// namespaceSelector also match the NetworkSets of all namespaces; here only those
// do that say of which namespaces things are meant. Beside a namespaceSelector, a
// notSelector alone would match known things only, so it says so itself.
func (t *translation) everywhere(field string, e *v1alpha1.EntityRule) {
	if e.ServiceAccounts != nil || podsOnlySelector(e.Selector) {
		return // no set matches
	}
	const follows = "in Calico it also matches NetworkSets of all namespaces, so anyone who may write one decides what it matches; remove this if you did not intend that"
	switch {
	case e.Selector != "":
		e.NamespaceSelector = anywhere
		t.spell(field+".selector", "written out with namespaceSelector %s: "+follows, anywhere)
	case e.NotSelector == "":
	case len(e.NotSelector)+len(anyNamespace) > maxSelector-10:
		t.lose(field+".notSelector", "in Calico it also excludes NetworkSets of all namespaces; it is too long for that to be written out, and excludes none of them here")
	default:
		e.NotSelector = "(" + e.NotSelector + ") && " + anyNamespace
		t.spell(field+".notSelector", "written out with %s: "+follows, anyNamespace)
	}
}

// podsOnlySelector reports whether a selector matches neither network sets nor host
// endpoints, whatever their labels.
func podsOnlySelector(s string) bool {
	sel, err := selector.Parse(s)
	if s == "" || err != nil {
		return false
	}
	if sel.MatchesNothing() {
		return true
	}
	for _, c := range sel.Constraints() {
		switch c.Key {
		case "projectcalico.org/orchestrator", "projectcalico.org/serviceaccount", "tierwall.io/orchestrator", "tierwall.io/serviceaccount":
			return true
		}
	}
	return false
}

// namespaceSelector writes out that in Calico a selector of namespaces that
// matches where the label is absent also matches what is in no namespace.
func (t *translation) namespaceSelector(field, s string) string {
	t.checkSelector(field, s)
	if s == "" || strings.Contains(s, "global(") || !matchesUnlabelled(s, "projectcalico.org/namespace") {
		return s
	}
	t.explain(field, "written out with `|| global()`: in Calico it also matches host endpoints and global network sets, because they lack the label; remove this if you did not intend that")
	return "(" + s + ") || global()"
}

// matchesUnlabelled reports whether a selector matches an object without any
// labels, where all() means that the label scope is there. A selector that
// does not parse does not.
func matchesUnlabelled(s, scope string) bool {
	sel, err := selector.Parse(strings.ReplaceAll(s, "all()", "has("+scope+")"))
	return err == nil && sel.Evaluate(selector.MapLabels{})
}

// ruleAction takes the lower-case spellings of old manifests too.
func ruleAction(a v1alpha1.Action) v1alpha1.Action {
	switch strings.ToLower(string(a)) {
	case "allow":
		return v1alpha1.Allow
	case "deny":
		return v1alpha1.Deny
	case "log":
		return v1alpha1.Log
	case "pass", "next-tier":
		return v1alpha1.Pass
	}
	return a
}

// protocol brings names into Tierwall's case and numbers into number form.
func protocol(p *intstr.IntOrString) *intstr.IntOrString {
	if p == nil || p.Type == intstr.Int {
		return p
	}
	v := protocolValue(*p)
	return &v
}

func protocolValue(p intstr.IntOrString) intstr.IntOrString {
	if p.Type == intstr.Int {
		return p
	}
	for _, name := range []string{"TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"} {
		if strings.EqualFold(p.StrVal, name) {
			return intstr.FromString(name)
		}
	}
	if n, err := strconv.ParseUint(p.StrVal, 10, 8); err == nil {
		return intstr.FromInt32(int32(n))
	}
	return p
}

// ports brings numbers in string form into number form, in place.
func ports(ps []intstr.IntOrString) {
	for i, p := range ps {
		if p.Type != intstr.String {
			continue
		}
		if n, err := strconv.ParseUint(p.StrVal, 10, 16); err == nil {
			ps[i] = intstr.FromInt32(int32(n))
		}
	}
}

// nets brings bare addresses into CIDR form and clears host bits, both of which
// Calico takes for granted. What does not parse is passed on as it is.
func nets(in []string) []string {
	for i, s := range in {
		in[i] = cidr(s)
	}
	return in
}

func cidr(s string) string {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().String()
	}
	return s
}
