//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// reexecMark is set in the environment of the program that Reexec runs.
const reexecMark = "TIERWALL_LAB_USERNS"

// Reexec makes sure that this process may make a lab. Call it first in main or
// TestMain, before any thread has state of its own.
//
// With the privileges (root, CAP_SYS_ADMIN and CAP_NET_ADMIN) it returns nil at
// once. Without, it runs the program again, with the same arguments and files,
// as root of a new user namespace, and exits with its exit status: it does not
// return. The second process dies with the first. Where users may not make
// user namespaces, that is the error; a test must then fail, not skip.
func Reexec() error {
	err := Available()
	if err == nil || os.Getenv(reexecMark) != "" {
		return err
	}
	runtime.LockOSThread() // Pdeathsig is sent when this thread ends
	self, e := os.Executable()
	if e != nil {
		return fmt.Errorf("lab: %w", e)
	}
	c := exec.Command(self, os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), reexecMark+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if e := c.Start(); e != nil {
		return fmt.Errorf("lab: neither root (%w) nor a user namespace (%w): run as root, "+
			"or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)", err, e)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		for s := range signals {
			// What the terminal sends reaches the child by itself.
			if s == syscall.SIGTERM || s == syscall.SIGQUIT {
				_ = c.Process.Signal(s)
			}
		}
	}()
	e = c.Wait()
	var exit *exec.ExitError
	switch {
	case e == nil:
		os.Exit(0)
	case errors.As(e, &exit) && exit.ExitCode() >= 0:
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "lab:", e)
	os.Exit(1)
	return nil
}

// Available returns why this process cannot make a lab; nil if it can.
func Available() error {
	ns, err := newNamespace(nil)
	if err != nil {
		return err
	}
	defer ns.close()
	return ns.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("lab: cannot open a raw socket in a new network namespace (CAP_NET_RAW): %w", err)
		}
		return unix.Close(fd)
	})
}
