package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
)

const (
	// lockSeconds is how long the commands wait for others that change the same tables.
	lockSeconds = 30
	// maxElems is how many elements a set may have; the kernel takes memory for
	// those only that are there.
	maxElems = 1 << 22
)

// kernel is what a Backend needs of one.
type kernel interface {
	// rules returns what the tables of a family hold of ours.
	rules(ctx context.Context, f dataplane.Family) (map[string]*tableShape, error)
	restore(ctx context.Context, f dataplane.Family, text string) error
	// sets returns the sets of ours, by name.
	sets() (map[string]*ipset, error)
	createSet(*ipset) error
	changeSet(s *ipset, elems []elem, add bool) error
	// settle returns when no packet is under way any more that was when it was called.
	settle()
	// destroySet says errBusy if a rule asks for the set still.
	destroySet(name string) error
}

var errBusy = errors.New("the set is in use")

// commandKernel is the kernel of the calling thread's network namespace, by
// iptables' commands and netlink.
type commandKernel struct {
	commands
	// socket is what elements of sets are changed over; nil: one for each change.
	socket *setSocket
}

var _ kernel = commandKernel{}

func (k commandKernel) rules(ctx context.Context, f dataplane.Family) (map[string]*tableShape, error) {
	if f == dataplane.IPv6 && !hasIPv6() {
		return map[string]*tableShape{}, nil
	}
	out, err := k.run(ctx, f, "-save", "", "-c")
	if err != nil {
		return nil, err
	}
	return parseSave(bytes.NewReader(out))
}

func (k commandKernel) restore(ctx context.Context, f dataplane.Family, text string) error {
	if f == dataplane.IPv6 && !hasIPv6() {
		return nil
	}
	_, err := k.run(ctx, f, "-restore", text, "--noflush", "--wait", fmt.Sprint(lockSeconds))
	return err
}

func (k commandKernel) run(ctx context.Context, f dataplane.Family, what, input string, args ...string) ([]byte, error) {
	name := k.name(f, what)
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
