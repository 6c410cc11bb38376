package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// rendered is config/default.
func rendered(t *testing.T) []byte {
	t.Helper()
	build := exec.Command("go", "tool", "kustomize", "build", "../../config/default")
	build.Dir = filepath.Join("..", "kustomize")
	out, err := build.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// files are all files below a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSameInputSameFiles(t *testing.T) {
	in := rendered(t)
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := run(bytes.NewReader(in), dir); err != nil {
			t.Fatal(err)
		}
	}
	a, b := files(t, one), files(t, two)
	if len(a) < 10 || len(a) != len(b) {
		t.Fatalf("%d and %d files", len(a), len(b))
	}
	for name, text := range a {
		if b[name] != text {
			t.Errorf("%s differs", name)
		}
		if strings.HasSuffix(name, ".yaml") {
			var any any
			if err := yaml.UnmarshalStrict([]byte(text), &any); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if strings.Contains(text, " namespace: tierwall-system") {
			t.Errorf("%s names the namespace, which is OLM's to choose", name)
		}
	}
}

func TestWhatIsNotForeseenIsAnError(t *testing.T) {
	in := rendered(t)
	for name, tt := range map[string]struct{ in, want string }{
		"nothing":                 {"", "lack"},
		"a kind":                  {string(in) + "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", "Secret/x"},
		"a binding to others":     {string(in) + "\n---\nkind: ClusterRoleBinding\nmetadata: {name: x}\n", "ClusterRoleBinding/x"},
		"no YAML":                 {"a: [", "yaml"},
		"a kind without text":     {strings.ReplaceAll(string(in), "kind: HostEndpoint\n", "kind: Host\n"), "kind Host"},
		"a field that is gone":    {strings.ReplaceAll(string(in), "unknownWorkloads:", "unknown:"), "spec.unknownWorkloads: no such field"},
		"an image without a tag":  {strings.ReplaceAll(string(in), "tierwall:v0.1.0", "tierwall"), "want a tag"},
		"a field without meaning": {strings.ReplaceAll(string(in), "serviceAccountName:", "serviceAccountNames:"), "Deployment/tierwall-manager"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(strings.NewReader(tt.in), t.TempDir()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
