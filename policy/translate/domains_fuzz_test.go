package translate

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/names"
)

// wholeLabels is what a name means in Calico Enterprise, in AdminNetworkPolicies and here:
// * stands for one or more whole labels.
func wholeLabels(text string) *regexp.Regexp {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(text, ".")), ".")
	for i, l := range labels {
		if l == "*" {
			labels[i] = `[^.]+(\.[^.]+)*`
		} else {
			labels[i] = regexp.QuoteMeta(l)
		}
	}
	return regexp.MustCompile(`\A` + strings.Join(labels, `\.`) + `\z`)
}

// withinLabels is what a matchPattern means in Cilium: * stands for any characters of one
// label, none too, **. at the beginning for one or more labels, and * alone for any name.
func withinLabels(text string) *regexp.Regexp {
	const char = `[-a-z0-9_]`
	text = strings.ToLower(strings.TrimSuffix(text, "."))
	if text == "*" {
		return regexp.MustCompile(`\A` + char + `*(\.` + char + `+)*\z`)
	}
	prefix := ""
	if rest, ok := strings.CutPrefix(text, "**."); ok {
		prefix, text = char+`+(\.`+char+`+)*\.`, rest
	}
	parts := strings.Split(text, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile(`\A` + prefix + strings.Join(parts, char+"*") + `\z`)
}

// spelled is what a name without wildcards means.
func spelled(text string) *regexp.Regexp {
	return regexp.MustCompile(`\A` + regexp.QuoteMeta(strings.ToLower(strings.TrimSuffix(text, "."))) + `\z`)
}

// foreignNames are the places of names in foreign kinds: an object with one name there,
// and what it means.
var foreignNames = []struct {
	kind  string
	spec  func(name string) map[string]any
	means func(name string) *regexp.Regexp
}{
	{"projectcalico.org/v3 GlobalNetworkPolicy", func(n string) map[string]any {
		return m{"types": []string{"Egress"}, "egress": []m{{"action": "Allow", "destination": m{"domains": []string{n}}}}}
	}, wholeLabels},
	{"projectcalico.org/v3 GlobalNetworkSet", func(n string) map[string]any { return m{"allowedEgressDomains": []string{n}} }, wholeLabels},
	{"cilium.io/v2 CiliumClusterwideNetworkPolicy", func(n string) map[string]any {
		return m{"endpointSelector": m{}, "egress": []m{{"toFQDNs": []m{{"matchName": n}}}}}
	}, spelled},
	{"cilium.io/v2 CiliumClusterwideNetworkPolicy", func(n string) map[string]any {
		return m{"endpointSelector": m{}, "egress": []m{{"toFQDNs": []m{{"matchPattern": n}}}}}
	}, withinLabels},
	{"policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy", func(n string) map[string]any {
		return m{"priority": 1, "subject": m{"namespaces": m{}}, "egress": []m{{"action": "Allow", "to": []m{{"domainNames": []string{n}}}}}}
	}, wholeLabels},
	{"policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy", func(n string) map[string]any {
		return m{"priority": 1, "subject": m{"namespaces": m{}}, "egress": []m{{"action": "Allow", "to": []m{{"nodes": m{}}, {"domainNames": []string{n}}}}}}
	}, wholeLabels},
}

// namesOf are all names that objects allow.
func namesOf(objects []runtime.Object) (out []string) {
	rules := func(list []v1alpha1.Rule) {
		for _, r := range list {
			out = append(out, r.Destination.Domains...)
		}
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *v1alpha1.GlobalNetworkPolicy:
			rules(o.Spec.Egress)
		case *v1alpha1.GlobalNetworkSet:
			out = append(out, o.Spec.AllowedEgressDomains...)
		case *v1alpha2.ClusterNetworkPolicy:
			for _, r := range o.Spec.Egress {
				for _, p := range r.To {
					for _, d := range p.DomainNames {
						out = append(out, string(d))
					}
				}
			}
		}
	}
	return out
}

// FuzzDomains: no foreign name matches more in translation than it means where it comes
// from; and what it means is matched, or a note says what is lost.
func FuzzDomains(f *testing.F) {
	for _, text := range []string{
		"api.example.com", "*.example.com", "**.example.com", "a.*.example", "*", "**", "**.", "api*.example.com", "*.*.example", "a**.example",
		"WWW.Example.com.", "xn--bcher-kva.example", "192.0.2.1", "a..b", "_x.example", "**.*.example", "",
	} {
		for _, name := range []string{"api.example.com", "example.com", "a.b.example", "x.y.z.example", "a.example"} {
			f.Add(text, name)
		}
	}
	f.Fuzz(func(t *testing.T, text, asked string) {
		name, ok := names.Canonical(asked)
		if !ok || strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
			return // other scripts are names.ParsePattern's business
		}
		for _, place := range foreignNames {
			apiVersion, kind, _ := strings.Cut(place.kind, " ")
			spec := place.spec(text)
			doc, err := json.Marshal(m{"apiVersion": apiVersion, "kind": kind, "metadata": m{"name": "x"}, "spec": spec})
			if err != nil {
				t.Fatal(err)
			}
			o, err := decode(doc)
			if err != nil {
				t.Fatalf("%s: %v", doc, err)
			}
			r, err := Translate(o)
			if err != nil {
				continue
			}
			matched, unread := false, false
			for _, s := range namesOf(r.Objects) {
				p, err := names.ParsePattern(s)
				unread = unread || err != nil // which is reported when it is converted
				matched = matched || p.Matches(name)
			}
			switch meant := place.means(text).MatchString(name); {
			case matched && !meant:
				t.Errorf("%s: %q matches %s, which it does not mean", doc, text, name)
			case meant && !matched && !unread && !r.Lossy():
				t.Errorf("%s: %q does not match %s, and nothing is said", doc, text, name)
			}
		}
	})
}
