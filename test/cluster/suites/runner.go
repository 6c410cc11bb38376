package suites

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Runner runs suites and keeps what they said.
type Runner struct {
	// Root is the folder of Tierwall's module; the programs come from its
	// hack/kube.sh.
	Root string
	// Folder takes reports and logs, one of each for a suite, and the verdicts that
	// Baseline reads.
	Folder string
	// Log takes a line a step.
	Log io.Writer
}

// Run runs the tests that the selection has of a suite, on a cluster on which
// Tierwall is installed, or, for the baseline, is not. An error means that there
// is no verdict; tests that fail are in the verdict.
func (r *Runner) Run(ctx context.Context, s Suite, t Target, selection Selection, baseline bool) (Verdict, error) {
	v, err := r.run(ctx, s, t, selection, baseline)
	if err != nil {
		return Verdict{}, fmt.Errorf("suite %s: %w", s.Name, err)
	}
	return v, nil
}

func (r *Runner) run(ctx context.Context, s Suite, t Target, selection Selection, baseline bool) (Verdict, error) {
	tests, err := s.Tests()
	if err != nil {
		return Verdict{}, err
	}
	run, skipped := selection.split(tests)
	if len(run) == 0 {
		return Verdict{}, errors.New("there is nothing to run")
	}
	folder := filepath.Join(r.Folder, resultName(s, selection, baseline))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Verdict{}, err
	}
	programs, err := r.programs(ctx, s)
	if err != nil {
		return Verdict{}, err
	}
	version, err := moduleVersion(filepath.Join(programs, s.Program), s.module)
	if err != nil {
		return Verdict{}, err
	}
	if err := r.checkInstalled(ctx, t, baseline); err != nil {
		return Verdict{}, err
	}
	if s.prepare != nil {
		if err := s.prepare(ctx, t, r); err != nil {
			return Verdict{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	log := filepath.Join(folder, "log")
	r.say("%s %s: %d tests, log %s", s.Name, version, len(run), log)
	start := time.Now()
	ended, err := r.start(ctx, t, s.command(t, programs, folder, run, skipped, !selection.Short), log)
	if err != nil {
		return Verdict{}, err
	}
	took := time.Since(start)
	source := log
	if s.result != "" {
		source = filepath.Join(folder, s.result)
	}
	report, err := readReport(source, s.parse)
	if err != nil {
		return Verdict{}, fmt.Errorf("%w (%s; see %s)", err, ended, log)
	}
	report.Time = took
	v := judge(report, run, skipped)
	v.Suite, v.Version = s.Name, version
	// A suite that says it failed is believed, whatever its report says.
	if ended != "" && v.OK() {
		v.Outside = append(v.Outside, ended)
	}
	return v, r.keep(v, s, selection, baseline)
}

// start runs the suite to its end, and says how it ended if not well.
func (r *Runner) start(ctx context.Context, t Target, argv []string, log string) (ended string, err error) {
	f, err := os.Create(log)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // for the returns before the last
	c := t.command(ctx, argv...)
	c.Stdout, c.Stderr = f, f
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "it was ended: " + context.Cause(ctx).Error(), nil
	case errors.As(err, &exit):
		return exit.String(), nil
	case err != nil:
		return "", err
	}
	return "", f.Close()
}

func readReport(file string, parse func(io.Reader) (Report, error)) (Report, error) {
	f, err := os.Open(file)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = f.Close() }()
	return parse(f)
}

// checkInstalled fails if a baseline is asked for where Tierwall is: its figures
// would be worthless; and likewise the other way round.
func (r *Runner) checkInstalled(ctx context.Context, t Target, baseline bool) error {
	var out bytes.Buffer
	if err := r.kubectlTo(ctx, t, &out, "get", "daemonsets", "-A", "-l", "app.kubernetes.io/part-of=tierwall", "-o", "name"); err != nil {
		return err
	}
	switch there := strings.TrimSpace(out.String()) != ""; {
	case there && baseline:
		return errors.New("a baseline is for a cluster without enforcement, and Tierwall's agents are there")
	case !there && !baseline:
		return errors.New("no agents of Tierwall are there: install it first")
	}
	return nil
}

// Runtime asks the first node for its container runtime, as in "containerd 2.4.2".
func (r *Runner) Runtime(ctx context.Context, t Target) (string, error) {
	var out bytes.Buffer
	if err := r.kubectlTo(ctx, t, &out, "get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}"); err != nil {
		return "", err
	}
	return RuntimeName(out.String()), nil
}

// RuntimeName makes "containerd 2.4.2" of what a node says of its runtime.
func RuntimeName(said string) string {
	name, version, _ := strings.Cut(strings.TrimSpace(said), "://")
	return strings.TrimSpace(name + " " + strings.TrimPrefix(version, "v"))
}

// Dataplane asks the report of the first node's agent for what programs its kernel;
// empty: there is none, or Tierwall is not there.
func (r *Runner) Dataplane(ctx context.Context, t Target) (string, error) {
	var out bytes.Buffer
	err := r.kubectlTo(ctx, t, &out, "api-resources", "--api-group=tierwall.io", "-o", "name")
	if err != nil || !strings.Contains(out.String(), "nodereports") {
		return "", err
	}
	out.Reset()
	err = r.kubectlTo(ctx, t, &out, "get", "nodereports", "-o", `go-template={{with .items}}{{(index . 0).report.dataplane}}{{end}}`)
	return strings.TrimSpace(out.String()), err
}

func (r *Runner) kubectl(ctx context.Context, t Target, arguments ...string) error {
	return r.kubectlTo(ctx, t, io.Discard, arguments...)
}

func (r *Runner) kubectlTo(ctx context.Context, t Target, out io.Writer, arguments ...string) error {
	folder, err := r.kube(ctx, "kubectl")
	if err != nil {
		return err
	}
	c := t.command(ctx, append([]string{filepath.Join(folder, "kubectl"), "--kubeconfig=" + t.Kubeconfig}, arguments...)...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = out, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments, " "), err, firstLine(said.String()))
	}
	return nil
}

func (r *Runner) programs(ctx context.Context, s Suite) (string, error) {
	return r.kube(ctx, s.Programs()...)
}

// kube asks hack/kube.sh, which builds what is missing.
func (r *Runner) kube(ctx context.Context, programs ...string) (string, error) {
	c := exec.CommandContext(ctx, filepath.Join(r.Root, "hack", "kube.sh"), programs...)
	c.Stderr = r.Log
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("hack/kube.sh %s: %w", strings.Join(programs, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (r *Runner) moduleFolder(ctx context.Context, module string) (string, error) {
	c := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	c.Dir, c.Stderr = filepath.Join(r.Root, "hack", "kube"), r.Log
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", module, err)
	}
	folder := strings.TrimSpace(string(out))
	if folder == "" {
		return "", fmt.Errorf("module %s is not there: go mod download", module)
	}
	return folder, nil
}

// moduleVersion reads from a program which version of a module it was built
// from; a test program is of its module as the main one.
func moduleVersion(program, module string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version, nil
		}
	}
	return "", fmt.Errorf("%s was not built from %s", program, module)
}

// resultName tells apart what must not be held against each other.
func resultName(s Suite, selection Selection, baseline bool) string {
	name := s.Name
	if selection.Short {
		name += "-short"
	}
	if selection.NoSCTP {
		name += "-nosctp"
	}
	if baseline {
		name += "-baseline"
	}
	return name
}

func (r *Runner) keep(v Verdict, s Suite, selection Selection, baseline bool) error {
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.Folder, resultName(s, selection, baseline), "verdict.json"), append(out, '\n'), 0o644)
}

// Baseline is what the selection's tests come to without enforcement: by a run in
// this folder, or, if there was none, by the suite's list.
func (r *Runner) Baseline(s Suite, selection Selection) (Verdict, error) {
	text, err := os.ReadFile(filepath.Join(r.Folder, resultName(s, selection, true), "verdict.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.KnownBaseline(selection)
	}
	if err != nil {
		return Verdict{}, err
	}
	var v Verdict
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("verdict of the baseline of suite %s: %w", s.Name, err)
	}
	return v, nil
}

func (r *Runner) say(format string, arguments ...any) {
	if r.Log != nil {
		fmt.Fprintf(r.Log, format+"\n", arguments...)
	}
}
