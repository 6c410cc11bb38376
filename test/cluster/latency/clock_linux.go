package latency

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// now is CLOCK_MONOTONIC, which all namespaces of a machine share.
func now() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it is always there
	return time.Duration(t.Nano())
}

// pause sleeps on the calling thread: the runtime's timers may be late by as much
// as what is measured.
func pause(d time.Duration) {
	if d > 0 {
		t := unix.NsecToTimespec(d.Nanoseconds())
		_ = unix.Nanosleep(&t, nil) // a signal shortens one pause
	}
}

// in runs f on a thread in the network namespace of a path; the thread ends with f.
func in(netns string, f func() error) error {
	file, err := os.Open(netns)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer func() { _ = file.Close() }()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("network namespace %s: %w", netns, err)
			return
		}
		done <- f()
	}()
	return <-done
}
