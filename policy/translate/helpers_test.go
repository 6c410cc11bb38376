package translate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// foreignKinds lists every kind that New knows.
func foreignKinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, k := range []struct{ group, version, kinds string }{
		{"projectcalico.org", "v3", "Tier GlobalNetworkPolicy NetworkPolicy StagedGlobalNetworkPolicy StagedNetworkPolicy StagedKubernetesNetworkPolicy GlobalNetworkSet NetworkSet HostEndpoint Profile FelixConfiguration KubeControllersConfiguration"},
		{"crd.projectcalico.org", "v1", "Tier GlobalNetworkPolicy NetworkPolicy GlobalNetworkSet HostEndpoint FelixConfiguration"},
		{"policy.networking.k8s.io", "v1alpha1", "AdminNetworkPolicy BaselineAdminNetworkPolicy"},
		{"cilium.io", "v2", "CiliumNetworkPolicy CiliumClusterwideNetworkPolicy CiliumCIDRGroup"},
	} {
		for _, kind := range strings.Fields(k.kinds) {
			out = append(out, schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: kind})
		}
	}
	return out
}

// goldenDocuments are the documents of all golden inputs, as JSON.
func goldenDocuments(t testing.TB) [][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var out [][]byte
	for _, in := range files {
		text, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range strings.Split(string(text), "\n---\n") {
			j, err := yaml.YAMLToJSON([]byte(doc))
			if err != nil {
				t.Fatalf("%s: %v", in, err)
			}
			out = append(out, j)
		}
	}
	return out
}

func TestNewKnowsEveryKind(t *testing.T) {
	for _, gvk := range foreignKinds() {
		obj := New(gvk)
		if obj == nil {
			t.Errorf("%s is unknown", gvk)
			continue
		}
		tm, _ := obj.(foreign).meta()
		if tm.GroupVersionKind() != gvk {
			t.Errorf("New(%s) calls itself %s", gvk, tm.GroupVersionKind())
		}
	}
	for _, gvk := range []schema.GroupVersionKind{
		{}, {Group: "projectcalico.org", Version: "v3", Kind: "BGPPeer"}, {Group: "projectcalico.org", Version: "v1", Kind: "Tier"},
		{Group: "tierwall.io", Version: "v1alpha1", Kind: "Tier"}, {Group: "cilium.io", Version: "v2", Kind: "CiliumNode"},
	} {
		if obj := New(gvk); obj != nil {
			t.Errorf("New(%s) = %T, want nil", gvk, obj)
		}
	}
}
