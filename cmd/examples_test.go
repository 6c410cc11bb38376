package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/diff"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// deniedWorld is a cluster whose teams deny everything by native policies. Its pods
// have the labels that examples select.
func deniedWorld() string {
	world := `
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {role: worker}}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.7.1}]}
`
	for i, ns := range []string{"default", "shop", "payments"} {
		world += "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + ", labels: {kubernetes.io/metadata.name: " + ns + ", team: " + ns + ", env: prod}}\n" +
			"---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny-all-of-team, namespace: " + ns + "}\nspec: {podSelector: {}, policyTypes: [Ingress, Egress]}\n"
		for j, app := range []string{"frontend", "backend", "web", "db", "other"} {
			world += "---\napiVersion: v1\nkind: Pod\nmetadata: {name: denied-" + app + ", namespace: " + ns + ", labels: {app: " + app + "}}\n" +
				"spec: {nodeName: node-1, containers: [{name: c, image: i}]}\nstatus: {podIP: 10.244.1." + string(rune('1'+i)) + string(rune('0'+j)) + "}\n"
		}
	}
	return world
}

// tiersOfExamples are those that examples are in, as the samples have them.
const tiersOfExamples = `
---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: security}
spec: {order: 100, defaultAction: Pass}
---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: platform}
spec: {order: 200, defaultAction: Pass}
`

// opens lists what an example gives access to without saying so: that no Allow rule of
// its own decides.
func opens(t *testing.T, example string) []string {
	t.Helper()
	var indices []*index.Index
	own := map[model.Ref]bool{}
	base := deniedWorld()
	if !strings.Contains(example, "kind: Tier\n") && !strings.Contains(example, `"kind":"Tier"`) {
		base += tiersOfExamples
	}
	for _, docs := range []string{base, base + "\n---\n" + example} {
		r, err := manifests.LoadBytes("example.yaml", []byte(docs))
		if err != nil {
			t.Fatal(err)
		}
		r.Complete()
		ix, _ := r.Index()
		ix.Flush()
		indices = append(indices, ix)
		for i := range r.Objects {
			if o := &r.Objects[i]; o.Ref.Kind.IsPolicy() && o.Ref.Name != "deny-all-of-team" {
				own[o.Ref] = true
			}
		}
	}
	var out []string
	for _, c := range diff.Compare(indices[0], indices[1], diff.Options{}).Changes {
		if c.Kind != diff.Gained || c.After == nil {
			continue
		}
		said := false
		for _, v := range []*model.Verdict{c.After.Egress, c.After.Ingress} {
			said = said || v != nil && v.Reason == model.ReasonRule && v.Action == model.Allow && own[v.Policy]
		}
		if !said {
			out = append(out, c.From.Text+" to "+c.To.Text)
		}
	}
	return out
}

// TestExamplesOpenNothing puts every example that is shipped beside policies that deny
// everything: it may open what its rules allow, and nothing else.
func TestExamplesOpenNothing(t *testing.T) {
	examples := map[string]string{}
	csv, err := os.ReadFile("../bundle/manifests/tierwall.clusterserviceversion.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(csv, &meta); err != nil {
		t.Fatal(err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(meta.Metadata.Annotations["alm-examples"]), &list); err != nil || len(list) == 0 {
		t.Fatalf("%d examples, %v", len(list), err)
	}
	var together []string
	for _, raw := range list {
		if strings.Contains(string(raw), `"PodAddressReport"`) {
			continue // of agents, for agents
		}
		y, err := yaml.JSONToYAML(raw)
		if err != nil {
			t.Fatal(err)
		}
		together = append(together, string(y))
	}
	for _, y := range together {
		kind, _, _ := strings.Cut(y[strings.Index(y, "kind: ")+6:], "\n")
		examples["bundle/"+kind] = y
	}
	examples["bundle/all"] = strings.Join(together, "---\n")
	samples, err := filepath.Glob("../config/samples/*-*/*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatal(samples, err)
	}
	for _, path := range samples {
		if strings.Contains(path, "00-cluster") {
			continue // what is protected, not what protects
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		examples[path] = string(b)
	}
	pages, _ := filepath.Glob("../docs/*.md")
	fence := regexp.MustCompile("(?s)\n```yaml\n(.*?\n)```")
	for _, path := range append(pages, "../README.md") {
		if filepath.Base(path) == "lint.md" {
			continue // what is wrong, each with the warning that it gets
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range fence.FindAllSubmatch(append([]byte("\n"), b...), -1) {
			if text := string(m[1]); strings.Contains(text, "apiVersion: tierwall.io/") {
				examples[path+"#"+string(rune('a'+i))] = text
			}
		}
	}
	for name, text := range examples {
		t.Run(name, func(t *testing.T) {
			for _, o := range opens(t, text) {
				t.Errorf("opens, without saying so: %s", o)
			}
		})
	}
}
