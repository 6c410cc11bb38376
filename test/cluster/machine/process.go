//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process names a process for good: numbers are used again, a number together
// with a start time is not.
type Process struct {
	// PID is as the host's process namespace counts.
	PID int `json:"pid"`
	// Start is in ticks since the kernel booted, and Boot tells that boot from others.
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// processOf describes a process that is there now.
func processOf(pid int) (Process, error) {
	start, _, err := stat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, Start: start, Boot: bootID()}, nil
}

// Alive tells whether the process is there and no zombie.
func (p Process) Alive() bool {
	if p.PID <= 1 || p.Boot != bootID() {
		return false
	}
	start, state, err := stat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// kill sends SIGKILL to the very process and waits until nothing is left of it,
// nor, if it is process 1 of a namespace, of that namespace's processes. A
// process that is gone already is no error.
func (p Process) kill(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor pins the number: what is checked now is what gets the signal.
	if !p.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: cannot be killed: %w", p.PID, err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("process %d: cannot be waited for: %w", p.PID, err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("process %d: still there after SIGKILL: %w", p.PID, ctx.Err())
		}
	}
}

// stat reads the start time and the state of a process.
func stat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return parseStat(string(b))
}

// parseStat takes fields 22 and 3 of /proc/PID/stat. The second, the name of
// the program, may hold anything, parentheses and blanks included.
func parseStat(line string) (start uint64, state byte, err error) {
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("%q: no line of /proc/PID/stat", line)
	}
	fields := strings.Fields(line[end+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return 0, 0, fmt.Errorf("%q: no line of /proc/PID/stat", line)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%q: no line of /proc/PID/stat: %w", line, err)
	}
	return start, fields[0][0], nil
}

// bootID is the same until the kernel boots again.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// poll calls done every few milliseconds until it says true or ctx ends.
func poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
