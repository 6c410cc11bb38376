package manifests

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// A second Load with the Memory of a first one is as one without.
func TestMemory(t *testing.T) {
	pod := "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers: []\n"
	named := "---\napiVersion: v1\nkind: Pod\nmetadata:\n  generateName: b-\nspec: {}\n"
	odd := "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: c\nspec:\n  odd: 1\n---\napiVersion: v1\nkind: Odd\nmetadata:\n  name: d\n"
	list := "---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: e\n"
	calico := "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  name: f\nspec:\n  selector: all()\n"
	tests := "---\napiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata:\n  name: t\nspec:\n  cases:\n  - {name: x, from: {pod: default/a}, to: {ip: 192.0.2.1, protocol: TCP, port: 1}, expect: Allow}\n"
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	everything := pod + named + odd + list + calico + tests
	for _, second := range []string{everything, odd + pod, pod + pod, pod, pod + named + named, everything + "---\na: [\n", tests + pod} {
		var memory Memory
		first, err := Load([]string{write("first.yaml", everything)}, Options{Memory: &memory})
		if err != nil {
			t.Fatal(err)
		}
		if len(memory.docs) == 0 {
			t.Fatal("nothing is remembered")
		}
		first.Complete()
		paths := []string{write("second.yaml", second)}
		want, wantErr := Load(paths, Options{})
		got, gotErr := Load(paths, Options{Memory: &memory})
		if !reflect.DeepEqual(gotErr, wantErr) || !reflect.DeepEqual(got, want) {
			t.Errorf("of\n%s\ngot  %+v, %v\nwant %+v, %v", second, got, gotErr, want, wantErr)
		}
	}
}
