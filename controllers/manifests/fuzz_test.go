package manifests

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLoad feeds whole files through loading, completion and conversion: none of
// it may panic, every error must be one line with its file, and every object
// must be findable.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		"", "a: 1", "- &a [*a]", "<<: {a: 1}", "{", "\"", "? a", "--- |\n a\n...\n", "!!binary aGk=", "a: !!float x", "2001-01-01: 1",
		`{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}]}`,
		gnp + "metadata: {name: x}\nspec: {selector: \"a == 'b'\", order: 1, ingress: [{action: Allow, protocol: TCP, source: {nets: [10.0.0.0/8]}, destination: {ports: [80, \"1:2\", http]}}]}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {x: 'y'}}\nspec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {x: y}, ports: [{port: 1, targetPort: http}]}\n",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}\n",
		"apiVersion: v1\nkind: Node\nmetadata: {name: 'n'}\nspec: {podCIDR: 10.0.0.0/31}\n---\napiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\nspec: {autoHostEndpoints: true}\n",
		"apiVersion: crd.projectcalico.org/v1\nkind: NetworkPolicy\nmetadata: {name: default.b}\nspec: {tier: default}\n",
		"apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: t}\nspec: {cases: [{name: a, from: {ip: \"::1\"}, to: {pod: a/b, port: http}, expect: Deny}]}\n",
		"apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\nspec: {tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}\n",
	} {
		f.Add("a.yaml", []byte(s))
		f.Add("a.json", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if len(data) > 1<<16 || !utf8.ValidString(name) || !isPrintable(name) {
			return
		}
		name = "f" + name
		r, err := LoadBytes(name, data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%T is no *Error: %v", err, err)
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, name+":") && !strings.HasPrefix(line, "and ") {
					t.Errorf("no file in %q", line)
				}
			}
			return
		}
		r.Complete()
		for i := range r.Objects {
			o := &r.Objects[i]
			if found, ok := r.Lookup(o.Ref); !ok || found != o {
				t.Errorf("%s cannot be looked up", o.Ref)
			}
			if o.LineOf("spec.ingress[0].source.nets[0]") < 0 || o.Place() == "" {
				t.Errorf("%s has no place", o.Ref)
			}
		}
		count := len(r.Objects)
		if r.Complete(); len(r.Objects) != count {
			t.Errorf("a second Complete added %d objects", len(r.Objects)-count)
		}
		_, problems := r.Index()
		r.Locate(problems)
	})
}
