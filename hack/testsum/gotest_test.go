package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Packages that match run with the race detector, the others without, each once.
func TestRace(t *testing.T) {
	t.Chdir(t.TempDir())
	files := map[string]string{
		"go.mod":            "module example.com/m\n\ngo 1.26\n",
		"a/a.go":            "package a\n",
		"a/race_test.go":    "//go:build race\n\npackage a\n\nimport \"testing\"\n\nfunc TestRaced(t *testing.T) {}\n",
		"a/norace_test.go":  "//go:build !race\n\npackage a\n\nimport \"testing\"\n\nfunc TestPlain(t *testing.T) { t.Error(\"without\") }\n",
		"ab/race_test.go":   "//go:build race\n\npackage ab\n\nimport \"testing\"\n\nfunc TestRaced(t *testing.T) { t.Error(\"with\") }\n",
		"ab/norace_test.go": "//go:build !race\n\npackage ab\n\nimport \"testing\"\n\nfunc TestPlain(t *testing.T) {}\n",
	}
	writeFiles(t, files)
	var out, errOut strings.Builder
	got, err := testModule(".", nil, []string{"./a/..."}, &out, &errOut)
	if err != nil || got != (tally{passed: 2}) {
		t.Errorf("%+v, %v\n%s%s", got, err, &out, &errOut)
	}
}

func writeFiles(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// While a test runs one at a time the lock is held, but not by the test itself, whose
// children may outlive it.
func TestOneAtATime(t *testing.T) {
	t.Chdir(t.TempDir())
	lock := filepath.Join(t.TempDir(), "lock")
	const locked = `package %s

import (
	"os"
	"syscall"
	"testing"
)

func TestLocked(t *testing.T) {
	f, err := os.Open(%q)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
		t.Errorf("locking: %%v", err)
	}
}
`
	writeFiles(t, map[string]string{
		"go.mod":      "module example.com/m\n\ngo 1.26\n",
		"a/a_test.go": fmt.Sprintf(locked, "a", lock),
		"b/b_test.go": fmt.Sprintf(locked, "b", lock),
	})
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	got, err := testModule(".", oneAtATime(lock), nil, &out, &errOut)
	if err != nil || got != (tally{passed: 2}) {
		t.Errorf("%+v, %v\n%s%s", got, err, &out, &errOut)
	}
	f, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Errorf("the lock is still held: %v", err)
	}
}

// Only a deadline that nothing else came with is taken for go.dev/issue/75804.
func TestLostDeadlineRace(t *testing.T) {
	const begun = "=== RUN   FuzzX\nfuzz: elapsed: 0s, gathering baseline coverage: 2/2 completed, now fuzzing with 2 workers\nfuzz: elapsed: 5s, execs: 9 (2/sec), new interesting: 1 (total: 3)\n"
	const ended = "FAIL\nexit status 1\nFAIL\texample.com/m\t5.743s\n"
	for name, c := range map[string]struct {
		output string
		want   bool
	}{
		"the race":            {begun + "--- FAIL: FuzzX (5.74s)\n    context deadline exceeded\n" + ended, true},
		"an input that fails": {begun + "--- FAIL: FuzzX (1.00s)\n    --- FAIL: FuzzX (0.00s)\n        x_test.go:9: context deadline exceeded\n    \n    Failing input written to testdata/fuzz/FuzzX/1\n" + ended, false},
		"the target's own":    {begun + "--- FAIL: FuzzX (1.00s)\n    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/1\n" + ended, false},
		"a panic":             {begun + "--- FAIL: FuzzX (5.74s)\n    context deadline exceeded\npanic: index out of range\n" + ended, false},
		"a failed seed":       {"=== RUN   FuzzX\n--- FAIL: FuzzX (0.00s)\n    --- FAIL: FuzzX/seed#0 (0.00s)\n" + ended, false},
		"it does not build":   {"FAIL\texample.com/m [build failed]\n", false},
		"cut off":             {begun + "--- FAIL: FuzzX (5.74s)", false},
	} {
		if got := lostDeadlineRace(c.output); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
