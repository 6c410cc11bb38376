package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// An outcome is what became of a mutant.
type outcome string

const (
	caught     outcome = "caught"
	survived   outcome = "SURVIVES"
	equivalent outcome = "equivalent"
	invalid    outcome = "invalid" // it does not compile
)

// A result is a mutant's outcome, and which tests decided it.
type result struct {
	outcome outcome
	by      string
}

// A suite is one `go test` of those that a mutant meets, in this order. A mutant that
// never ends or takes all memory is caught as well: limit and memory see to it.
type suite struct {
	name  string
	args  []string // after the package, which is the mutant's own if there is none
	env   []string
	limit time.Duration
}

// memory bounds the address space of a test, in KiB.
const memory = 12 << 20

var suites = []suite{
	{name: "package", args: []string{"-short", "-skip", "^TestPackets"}, limit: 10 * time.Minute},
	{name: "scenarios", args: []string{"./test/scenarios"}, limit: 10 * time.Minute},
	{name: "worlds", args: []string{"./test/oracle", "-run", "^TestWorlds$"}, env: []string{"TIERWALL_WORLDS=300"}, limit: 10 * time.Minute},
}

// trial runs the suites on a mutant until one of them fails.
func trial(ctx context.Context, s site) (result, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := writeOverlay(dir, s)
	if err != nil {
		return result{}, err
	}
	own := "./" + filepath.Dir(s.file)
	if output, err := command(ctx, time.Hour, nil, "go", "build", "-overlay", overlay, own); err != nil {
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		if !bytes.Contains(output, []byte(".go:")) {
			return result{}, fmt.Errorf("building: %w\n%s", err, output)
		}
		return result{outcome: invalid}, nil
	}
	for _, suite := range suites {
		args := suite.args
		if !strings.HasPrefix(args[0], "./") {
			args = append([]string{own}, args...)
		}
		args = append([]string{"test", "-count=1", "-failfast", "-overlay", overlay}, args...)
		_, err := command(ctx, suite.limit, suite.env, "go", args...)
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return result{caught, suite.name + ", which does not end"}, nil
		}
		if err != nil {
			return result{caught, suite.name}, nil
		}
	}
	return result{survived, "no test fails"}, nil
}

// writeOverlay writes the mutant of s, and the file that go takes as -overlay, to dir.
func writeOverlay(dir string, s site) (string, error) {
	src, err := os.ReadFile(s.file)
	if err != nil {
		return "", err
	}
	real, err := filepath.Abs(s.file)
	if err != nil {
		return "", err
	}
	mutant := filepath.Join(dir, filepath.Base(s.file))
	data, err := json.Marshal(map[string]map[string]string{"Replace": {real: mutant}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, errors.Join(os.WriteFile(mutant, s.apply(src), 0o600), os.WriteFile(overlay, data, 0o600))
}

// command runs a command for at most limit, with bounded memory and without leaving
// children behind, and returns what it printed.
func command(ctx context.Context, limit time.Duration, env []string, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	script := fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, memory)
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, name}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	endWithChildren(cmd)
	output, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return output, err
}
