package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tierwall/tierwall/hack/mutants/toggle"
)

// TestSchemata builds a program with all of its mutants in it, and turns each on.
func TestSchemata(t *testing.T) {
	packages, err := load([]string{"./testdata/program"})
	if err != nil {
		t.Fatal(err)
	}
	sample := takeSample(packages, 1, 100)
	dir := t.TempDir()
	b, err := newBuilder(dir, sample)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if out, err := command(t.Context(), time.Minute, "", nil, "go", "build", "-overlay", b.overlay, "-o", path, "./testdata/program"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(id uint32) string {
		out, err := command(t.Context(), time.Minute, "", []string{fmt.Sprintf("%s=%x", toggle.Variable, id)}, path)
		if err != nil {
			return err.Error()
		}
		return string(out)
	}

	want := map[string]string{
		"":            "8 true false 5 3s [0 0]xy",
		"2 #1":        "8 true false 5 3s [0 0]xy",
		"0 #1":        "9 true false 5 3s [0 0]xy",
		"7 #1":        "8 true false 0 3s [0 0]xy",
		"0 #2":        "8 true false 5 3s [0 0]xy",
		"!= #1":       "0 true false 5 3s [0 0]xy",
		"++ #1":       "0 true false 5 3s [0 0]xy",
		"9 #1":        "8 true false 5 3s [0 0]xy",
		"== #1":       "2 true false 5 3s [0 0]xy",
		"2 #2":        "7 true false 5 3s [0 0]xy",
		"continue #1": "1 true false 5 3s [0 0]xy",
		"4 #1":        "13 true false 5 3s [0 0]xy",
		"> #1":        "4 true false 5 3s [0 0]xy",
		"break #1":    "8 true false 5 3s [0 0]xy",
		"+= #1":       "-8 true false 5 3s [0 0]xy",
		"5 #1":        "8 true false 6 3s [0 0]xy",
		"3 #1":        "8 true false 5 4s [0 0]xy",
		"! #1":        "8 false false 5 3s [0 0]xy",
		"> #2":        "8 true false 5 3s [0 0]xy",
		"false #1":    "8 true true 5 3s [0 0]xy",
		"&& #1":       "8 true true 5 3s [0 0]xy",
		"2 #3":        "alone",
		"* #1":        "8 true false 5 0s [0 0]xy",
		"& #1":        "8 true false 7 3s [0 0]xy",
		"< #1":        "8 true false 5 3s [0 0]xy",
	}
	if got := run(0); got != want[""] {
		t.Errorf("without a mutant: %q, want %q", got, want[""])
	}
	delete(want, "")
	for _, m := range sample {
		key := strings.TrimPrefix(m.key(), "testdata/program/main.go main ")
		expected, ok := want[key]
		delete(want, key)
		got := "alone"
		if !m.alone {
			got = run(m.id)
		}
		if !ok || got != expected {
			t.Errorf("%s: %q, want %q", m, got, expected)
		}
	}
	for key := range want {
		t.Errorf("no mutant %s", key)
	}
}
