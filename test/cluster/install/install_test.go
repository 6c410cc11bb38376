package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestImageOf(t *testing.T) {
	module, err := Module()
	if err != nil {
		t.Fatal(err)
	}
	name, tag, err := imageOf(module)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(name, "/tierwall") || !strings.HasPrefix(tag, "v") {
		t.Errorf("config/operator runs %q, tag %q", name, tag)
	}
}

func TestImageOfNothing(t *testing.T) {
	module := t.TempDir()
	dir := filepath.Join(module, "config", "operator")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := imageOf(module); !os.IsNotExist(err) {
		t.Errorf("no file: got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("images: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := imageOf(module); err == nil || !strings.Contains(err.Error(), "images") {
		t.Errorf("no image: got %v", err)
	}
}

func TestOverlay(t *testing.T) {
	work := t.TempDir()
	dir, err := overlay(filepath.Join(work, "config", "default"), filepath.Join(work, "built"), "registry.example/tierwall", "next")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"- ../../config/default\n", "name: registry.example/tierwall\n", "newTag: next\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s\nhas no %q", text, want)
		}
	}
}
