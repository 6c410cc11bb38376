package cmd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/test/bench"
)

// BenchmarkCommands runs commands on folders of manifests of 5,000 pods and 500
// policies, each in a process of its own, and reports the time of CPUs, user and
// system, and the most memory that the process had.
func BenchmarkCommands(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, shape := range bench.Shapes() {
		b.Run(string(shape), func(b *testing.B) {
			before, after := b.TempDir(), b.TempDir()
			objects := bench.Objects(shape)
			if err := bench.WriteManifests(before, objects); err != nil {
				b.Fatal(err)
			}
			more := filepath.Join(after, "more")
			if err := errors.Join(os.CopyFS(after, os.DirFS(before)), os.Mkdir(more, 0o700),
				bench.WriteManifests(more, []runtime.Object{bench.Deny("changed", "env == 'prod'", "app == 'app-1'")})); err != nil {
				b.Fatal(err)
			}
			pod, other := bench.Pods(objects)
			tests := filepath.Join(b.TempDir(), "tests.yaml")
			text := "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: some}\nspec:\n  resources: [" + before + "]\n  cases:\n" +
				"  - {name: one, from: {pod: " + pod + "}, to: {pod: " + other + ", protocol: TCP, port: 9000}, expect: Deny}\n"
			if err := os.WriteFile(tests, []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
			// What is said of each pair of pods that have nothing in common takes minutes.
			pairs := []string{"matrix", "diff", "report"}
			for _, c := range []struct {
				name string
				args []string
			}{
				{"lint", []string{"lint", before}},
				{"matrix", []string{"matrix", "-f", before}},
				{"diff", []string{"diff", before, after}},
				{"report", []string{"report", "-f", after, "--base", before}},
				{"test", []string{"test", tests}},
				{"explain", []string{"explain", "-f", before, "--from", "pod:" + pod, "--to", "pod:" + other, "--port", "9000/TCP"}},
				{"effective", []string{"effective", "-f", before, "pod:" + pod}},
				{"effective-all", []string{"effective", "-f", before, "--all"}},
				{"who-can", []string{"who-can", "reach", "-f", before, "pod:" + pod}},
				{"what-can", []string{"what-can", "pod:" + pod, "reach", "-f", before}},
				{"convert", []string{"convert", before}},
			} {
				if shape != bench.Strangers || !slices.Contains(pairs, c.name) {
					b.Run(c.name, func(b *testing.B) { runCommand(b, self, c.args) })
				}
			}
		})
	}
}

// runCommand measures one command. That it finds or denies something is no failure.
func runCommand(b *testing.B, self string, args []string) {
	var cpu, memory float64
	for b.Loop() {
		c := exec.Command(self, args...)
		c.Env = append(os.Environ(), asCommand+"=1")
		c.Stderr = os.Stderr
		if err := c.Run(); err != nil {
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != exitNegative {
				b.Fatal(err)
			}
		}
		cpu += (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
		if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			memory = max(memory, float64(usage.Maxrss)/1024)
		}
	}
	b.ReportMetric(cpu/float64(b.N), "cpu-s/op")
	b.ReportMetric(memory, "max-MB")
}
