package main

import (
	"os/exec"
	"syscall"
	"time"
)

// endWithChildren gives a command a process group of its own, which ends as a whole:
// the test binary is a child of go.
func endWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}
