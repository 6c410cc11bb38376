package cmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/controllers/manifests"
)

// runConvert runs `tierwall convert` on one manifest.
func runConvert(t *testing.T, manifest string, flags ...string) (status int, out, errOut string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	var o, e bytes.Buffer
	status = Main(append([]string{"tierwall", "convert", path}, flags...), strings.NewReader(""), &o, &e)
	return status, o.String(), e.String()
}

const convertible = `
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 100}
---
apiVersion: v1
kind: List
items:
- apiVersion: crd.projectcalico.org/v1
  kind: GlobalNetworkPolicy
  metadata: {name: quarantine}
  spec: {tier: security, order: 1000000, selector: quarantine == 'true', types: [Ingress]}
- apiVersion: crd.projectcalico.org/v1
  kind: GlobalNetworkPolicy
  metadata: {name: default.quarantine}
  spec: {types: [Egress]}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {defaultEndpointToHostAction: Drop}
---
apiVersion: projectcalico.org/v3
kind: KubeControllersConfiguration
metadata: {name: default}
spec: {controllers: {node: {hostEndpoint: {autoCreate: Enabled}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: tierwall.io/v1alpha1
kind: PolicyTest
metadata: {name: test}
spec: {cases: [{name: x, from: {pod: shop/a}, to: {pod: shop/b}, expect: Allow}]}
`

func TestConvert(t *testing.T) {
	status, out, errOut := runConvert(t, convertible)
	if status != exitOK {
		t.Fatalf("status %d\n%s", status, errOut)
	}
	for _, want := range []string{
		"name: quarantine-security\n", "name: quarantine\n", // the tier is put behind a name that another tier has
		"autoHostEndpoints: true\n  endpointToHostAction: Drop\n", // from two objects
		"order: 1000000\n", "kind: PolicyTest\n", "# From GlobalNetworkPolicy.crd.projectcalico.org/quarantine (",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, unwanted := range []string{"status", "creationTimestamp", "projectcalico.org/v3\n"} {
		if strings.Contains(out, unwanted) {
			t.Errorf("%q in\n%s", unwanted, out)
		}
	}
	if strings.Contains(errOut, "WARNING GlobalNetworkPolicy/quarantine: metadata.name") == false {
		t.Errorf("nothing is said of the collision:\n%s", errOut)
	}
	// What is written can be read, and stays as it is.
	r, err := manifests.LoadBytes("out.yaml", []byte(out))
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := r.Index(); len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	status, again, errOut := runConvert(t, out)
	if status != exitOK || errOut != "" {
		t.Errorf("status %d of a second run\n%s", status, errOut)
	}
	if a, b := withoutComments(out), withoutComments(again); a != b {
		t.Errorf("a second run changes\n%s\ninto\n%s", a, b)
	}
}

func withoutComments(s string) string {
	var b strings.Builder
	for _, line := range strings.SplitAfter(s, "\n") {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return strings.ReplaceAll(b.String(), "---\n---\n", "---\n")
}

func TestConvertJSON(t *testing.T) {
	status, out, _ := runConvert(t, convertible, "-o", "json")
	var list struct {
		Kind  string           `json:"kind"`
		Items []map[string]any `json:"items"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || status != exitOK || list.Kind != "List" || len(list.Items) != 6 {
		t.Errorf("status %d, %v, %s of %d items", status, err, list.Kind, len(list.Items))
	}
	if _, err := manifests.LoadBytes("out.json", []byte(out)); err != nil {
		t.Error(err)
	}
}

func TestConvertStatus(t *testing.T) {
	for _, test := range []struct {
		name, manifest string
		status         int
		errOut         string
	}{
		{"no equivalent", `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {ingress: [{action: Allow, http: {methods: [GET]}}]}}`,
			exitNegative, "WARNING GlobalNetworkPolicy.projectcalico.org/x: spec.ingress[0].http: "},
		{"unknown kind of a policy system", `{apiVersion: cilium.io/v2, kind: CiliumLocalRedirectPolicy, metadata: {name: x}}`,
			exitNegative, "unknown kind CiliumLocalRedirectPolicy"},
		{"unknown kind of others", `{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}`, exitOK, "unknown kind ConfigMap"},
		{"unknown field", `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {selectr: a}}`,
			exitUnusable, "spec.selectr: unknown field"},
		{"invalid object", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec:\n  endpointSelector: {}\n  egress:\n  - toCIDR: [x]\n",
			exitUnusable, "in.yaml:7:14: CiliumNetworkPolicy/shop/x: spec.egress[0].toCIDR[0]: "},
		{"invalid selector", `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: default.x}, spec: {selector: "a =="}}`,
			exitUnusable, "in.yaml:1:1: GlobalNetworkPolicy.projectcalico.org/default.x: spec.selector: "},
		{"twice", "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: x}}\n---\n{apiVersion: tierwall.io/v1alpha1, kind: Tier, metadata: {name: x}}",
			exitUnusable, "Tier/x: defined twice; first at "},
		{"no YAML", "a: [", exitUnusable, "in.yaml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, out, errOut := runConvert(t, test.manifest)
			if status != test.status || !strings.Contains(errOut, test.errOut) {
				t.Errorf("status %d, want %d with %q\n%s", status, test.status, test.errOut, errOut)
			}
			if status == exitUnusable && out != "" {
				t.Errorf("output although the input is unusable:\n%s", out)
			}
		})
	}
}

// Settings that people have written are left alone.
func TestConvertKeepsSettings(t *testing.T) {
	status, out, errOut := runConvert(t, `
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {unknownWorkloads: Allow}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {defaultEndpointToHostAction: Drop}
`)
	if status != exitNegative || strings.Count(out, "kind: Tierwall") != 1 || !strings.Contains(out, "unknownWorkloads: Allow") {
		t.Errorf("status %d\n%s", status, out)
	}
	if !strings.Contains(errOut, `add these to it: {"endpointToHostAction":"Drop"}`) {
		t.Errorf("nothing is said of the settings:\n%s", errOut)
	}
}

// Text of the input cannot leave the comment that it is quoted in.
func TestConvertComments(t *testing.T) {
	manifest := map[string]any{
		"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
		"metadata": map[string]any{"name": "x", "namespace": "y"},
		"spec": map[string]any{
			"endpointSelector": map[string]any{},
			"ingress": []any{map[string]any{"fromEndpoints": []any{map[string]any{
				"matchLabels": map[string]any{"other:a\n---\nkind: Evil": "b"},
			}}}},
		},
	}
	b, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	status, out, _ := runConvert(t, string(b))
	if status != exitNegative || !strings.Contains(out, "Evil") || strings.Contains(out, "\nkind: Evil") {
		t.Errorf("status %d\n%s", status, out)
	}
}
