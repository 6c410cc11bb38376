package cmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// outcome is what a command left behind.
type outcome struct {
	status      int
	out, errOut string
}

// runMain runs the program as the shell would. No test may reach a real cluster.
func runMain(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	var out, errOut bytes.Buffer
	status := Main(append([]string{"/usr/bin/tierwall"}, args...), strings.NewReader(stdin), &out, &errOut)
	return outcome{status, out.String(), errOut.String()}
}

// inFolder makes a fresh folder with files the working directory.
func inFolder(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		status int
		errOut string
	}{
		{"help", []string{"--help"}, exitOK, ""},
		{"no command", nil, exitOK, ""},
		{"unknown command", []string{"tset"}, exitUnusable, "error: unknown command \"tset\"; did you mean test? (see tierwall --help)\n"},
		{"unknown flag", []string{"version", "--colour"}, exitUnusable, "error: unknown flag: --colour (see tierwall version --help)\n"},
		{"unknown format", []string{"version", "-o", "xml"}, exitUnusable, "want one of text, json, yaml"},
		{"test without a path", []string{"test"}, exitUnusable, "error: want a PATH: a file, a folder, or \"-\" for standard input (see tierwall test --help)\n"},
		{"effective of two", []string{"effective", "a/b", "a/c"}, exitUnusable, "error: want one ENDPOINT, or --all, -n, -A or -l\n"},
		{"effective of none", []string{"effective"}, exitUnusable, "error: want one ENDPOINT, or --all, -n, -A or -l\n"},
		{"effective of one and all", []string{"effective", "--all", "a/b"}, exitUnusable, "error: want one ENDPOINT, or --all, -n, -A or -l\n"},
		{"effective of one and labels", []string{"effective", "-l", "a=b", "a/b"}, exitUnusable, "error: want one ENDPOINT, or --all, -n, -A or -l\n"},
		{"effective of a namespace and all", []string{"effective", "-A", "-n", "a", "-f", "../config/samples"}, exitUnusable, "error: --namespace cannot be combined with --all-namespaces\n"},
		{"a broken label selector", []string{"effective", "-l", "a in b"}, exitUnusable, "error: invalid argument \"a in b\" for \"-l, --selector\" flag: "},
		{"the version by flag", []string{"--version"}, exitOK, ""},
		{"options", []string{"options"}, exitOK, ""},
		{"an argument too many", []string{"version", "x"}, exitUnusable, "error: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runMain(t, "", tt.args...)
			if got.status != tt.status || !strings.Contains(got.errOut, tt.errOut) || tt.errOut == "" && got.errOut != "" {
				t.Errorf("got %+v", got)
			}
			for _, line := range strings.Split(strings.TrimSpace(got.errOut), "\n") {
				if line != "" && !strings.HasPrefix(line, "error: ") {
					t.Errorf("a line of standard error is no error: %q", line)
				}
			}
		})
	}
}

func TestProgramName(t *testing.T) {
	for arg0, want := range map[string]string{
		"/usr/local/bin/tierwall": "tierwall", "./kubectl-tierwall": "kubectl tierwall", "kubectl-tierwall.exe": "kubectl tierwall", "cmd.test": "tierwall", "": "tierwall",
	} {
		if got := programName(arg0); got != want {
			t.Errorf("programName(%q) = %q, want %q", arg0, got, want)
		}
	}
	var out bytes.Buffer
	Main([]string{"kubectl-tierwall", "test", "--help"}, strings.NewReader(""), &out, &out)
	if !strings.Contains(out.String(), "kubectl tierwall test PATH...") {
		t.Errorf("usage does not name the plugin:\n%s", out.String())
	}
}

func TestVersion(t *testing.T) {
	if got := runMain(t, "", "version"); got.status != exitOK || !strings.HasPrefix(got.out, "tierwall ") || strings.Count(got.out, "\n") != 1 {
		t.Errorf("got %+v", got)
	}
	for format, unmarshal := range map[string]func([]byte, any) error{
		"json": json.Unmarshal,
		"yaml": func(b []byte, v any) error { return yaml.Unmarshal(b, v) },
	} {
		var v versionInfo
		if got := runMain(t, "", "version", "-o", format); unmarshal([]byte(got.out), &v) != nil || v.Version == "" || v.Platform == "" {
			t.Errorf("%s: got %+v", format, got)
		}
	}
}

func TestTable(t *testing.T) {
	c := colours{on: true}
	var tab table
	tab.row("NAME", "N", "")
	tab.row(c.red("é"), "10", "last")
	tab.row("only")
	var out bytes.Buffer
	if err := tab.writeTo(&out, " "); err != nil {
		t.Fatal(err)
	}
	want := " NAME  N\n \x1b[31mé\x1b[0m     10  last\n only\n"
	if out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
}

func TestColoursOnlyOnTerminals(t *testing.T) {
	if coloursFor(&bytes.Buffer{}).on {
		t.Error("a buffer is no terminal")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	if coloursFor(null).on {
		t.Error("the null device is no terminal")
	}
	if got := (colours{}).red("x"); got != "x" {
		t.Errorf("got %q", got)
	}
}
