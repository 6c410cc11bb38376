package suites

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain stands in for the programs that a runner starts: they are links to
// this program under other names.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "kubectl":
		fmt.Print(os.Getenv("FAKE_AGENTS"))
	case "fake.test":
		text, err := os.ReadFile(os.Args[1])
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		fmt.Print(string(text))
		if os.Getenv("FAKE_HANGS") != "" {
			select {}
		}
		if strings.Contains(string(text), "--- FAIL") {
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

const fakeList = "-\tTestConformance/A/one\n-\tTestConformance/A/two\ns\tTestConformance/A/sctp\n"

// fakeSuite is one whose program prints a file.
func fakeSuite(report string) Suite {
	return Suite{
		Name: "fake", Title: "Fake", Program: "fake.test", others: []string{"kubectl"},
		module: "github.com/tierwall/tierwall", timeout: time.Minute, list: fakeList, parse: parseGoTest,
		command: func(_ Target, programs, _ string, _, _ []Test, _ bool) []string {
			return []string{filepath.Join(programs, "fake.test"), report}
		},
	}
}

// fakeRoot is a folder with a hack/kube.sh that prints a folder of links.
func fakeRoot(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	programs := filepath.Join(root, "programs")
	for _, folder := range []string{programs, filepath.Join(root, "hack")} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kubectl", "fake.test"} {
		if err := os.Symlink(self, filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\necho " + programs + "\n"
	if err := os.WriteFile(filepath.Join(root, "hack", "kube.sh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

func writeReport(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func result(state, name string) string {
	return marker + "=== RUN   " + name + "\n" + marker + "--- " + state + ": " + name + " (0.10s)"
}

func TestRunnerKeepsBaselineAndResult(t *testing.T) {
	r := &Runner{Root: fakeRoot(t), Folder: t.TempDir()}
	selection := Selection{NoSCTP: true}
	ctx := context.Background()

	if b, err := r.Baseline(fakeSuite(""), selection); err != nil || b.Passed != 0 || b.Total != 2 {
		t.Fatalf("before there is a baseline: %+v, %v; want that of the list", b, err)
	}
	open := writeReport(t, result("PASS", "TestConformance/A/one"), result("FAIL", "TestConformance/A/two"))
	if _, err := r.Run(ctx, fakeSuite(open), Target{}, selection, true); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAKE_AGENTS", "daemonset.apps/tierwall-agent\n")
	closed := writeReport(t, result("PASS", "TestConformance/A/one"), result("PASS", "TestConformance/A/two"))
	v, err := r.Run(ctx, fakeSuite(closed), Target{}, selection, false)
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK() || v.Total != 2 || len(v.Skipped) != 1 || v.Version == "" {
		t.Errorf("verdict %+v", v)
	}
	b, err := r.Baseline(fakeSuite(""), selection)
	if err != nil || b.Passed != 1 || b.Total != 2 {
		t.Errorf("baseline %+v, %v: want 1 of 2", b, err)
	}
}

// A baseline with enforcement, or a result without, would be wrong silently.
func TestRunnerLooksForAgents(t *testing.T) {
	r := &Runner{Root: fakeRoot(t), Folder: t.TempDir()}
	report := writeReport(t, result("PASS", "TestConformance/A/one"))
	if _, err := r.Run(context.Background(), fakeSuite(report), Target{}, Selection{}, false); err == nil || !strings.Contains(err.Error(), "install it first") {
		t.Errorf("no agents: %v", err)
	}
	t.Setenv("FAKE_AGENTS", "daemonset.apps/tierwall-agent\n")
	if _, err := r.Run(context.Background(), fakeSuite(report), Target{}, Selection{}, true); err == nil || !strings.Contains(err.Error(), "baseline") {
		t.Errorf("agents under a baseline: %v", err)
	}
}

// What a suite says at its end counts, also if its report is without fault.
func TestRunnerBelievesExitStatus(t *testing.T) {
	t.Setenv("FAKE_AGENTS", "daemonset.apps/tierwall-agent\n")
	r := &Runner{Root: fakeRoot(t), Folder: t.TempDir()}
	report := writeReport(t, result("PASS", "TestConformance/A/one"), result("PASS", "TestConformance/A/two"), "--- FAIL")
	v, err := r.Run(context.Background(), fakeSuite(report), Target{}, Selection{NoSCTP: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	if v.OK() || v.Passed != 2 || len(v.Outside) != 1 {
		t.Errorf("verdict %+v", v)
	}
}

// A suite that hangs is ended, and what it had not done yet is missing.
func TestRunnerEndsWhatHangs(t *testing.T) {
	t.Setenv("FAKE_AGENTS", "daemonset.apps/tierwall-agent\n")
	t.Setenv("FAKE_HANGS", "1")
	r := &Runner{Root: fakeRoot(t), Folder: t.TempDir()}
	s := fakeSuite(writeReport(t, result("PASS", "TestConformance/A/one")))
	s.timeout = 500 * time.Millisecond
	v, err := r.Run(context.Background(), s, Target{}, Selection{NoSCTP: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	if v.OK() || v.Passed != 1 || len(v.Missing) != 1 {
		t.Errorf("verdict %+v", v)
	}
}
