package iptables

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// netns is a network namespace.
type netns struct{ file *os.File }

// currentNetns returns the calling thread's.
func currentNetns() (netns, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	return netns{f}, err
}

func (n netns) close() error { return n.file.Close() }

// do runs a function in the namespace, whatever the caller's is.
func (n netns) do(f func() error) error {
	over := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		var here, there unix.Stat_t
		err := unix.Stat("/proc/thread-self/ns/net", &here)
		if err == nil {
			err = unix.Fstat(int(n.file.Fd()), &there)
		}
		switch {
		case err != nil:
		case here.Ino == there.Ino && here.Dev == there.Dev:
			runtime.UnlockOSThread()
		default: // the thread ends with the goroutine
			err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			over <- fmt.Errorf("network namespace: %w", err)
			return
		}
		over <- f()
	}()
	return <-over
}
