//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Cmd is an [exec.Cmd] that starts inside a namespace of the lab. It must be
// started by the methods below. It is killed when the lab closes and when this
// process dies, however it dies: a child would keep the namespace alive.
type Cmd struct {
	*exec.Cmd
	place   *place
	starter *starter
	err     error
}

// Command prepares a command to be run inside the namespace of a node, a pod or
// a host. It is looked up, and sees files, as everything else on this machine;
// only the network is another. An unknown namespace is an error of Start.
func (l *Lab) Command(where, name string, args ...string) *Cmd {
	p, err := l.at(where)
	c := &Cmd{Cmd: exec.Command(name, args...), place: p, starter: l.starter, err: err}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// Start is that of exec.Cmd.
func (c *Cmd) Start() error {
	if c.err != nil {
		return c.err
	}
	return c.starter.start(c)
}

// Run is that of exec.Cmd.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Wait is that of exec.Cmd.
func (c *Cmd) Wait() error {
	err := c.Cmd.Wait()
	c.starter.forget(c)
	return err
}

// Output is that of exec.Cmd, with standard error in the error.
func (c *Cmd) Output() ([]byte, error) {
	var out, errs bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &errs
	}
	err := c.Run()
	if err != nil && errs.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), err
}

// CombinedOutput is that of exec.Cmd.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// starter starts children on one thread, which lives as long as the lab: the
// kernel kills them when the thread that started them ends.
type starter struct {
	jobs chan func()
	done chan struct{}

	mu       sync.Mutex
	closed   bool
	children map[*Cmd]struct{}
}

func newStarter() *starter {
	s := &starter{jobs: make(chan func()), done: make(chan struct{}), children: map[*Cmd]struct{}{}}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range s.jobs {
			f()
		}
		close(s.done)
	}()
	return s
}

func (s *starter) start(c *Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	result := make(chan error)
	s.jobs <- func() { result <- c.place.ns.do(c.Cmd.Start) }
	err := <-result
	if err == nil {
		s.children[c] = struct{}{}
	}
	return err
}

func (s *starter) forget(c *Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.children, c)
}

// close kills the children that are left. Who started them waits for them.
func (s *starter) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.children {
		_ = c.Process.Kill()
	}
	close(s.jobs)
	<-s.done
}
