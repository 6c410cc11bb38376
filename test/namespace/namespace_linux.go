// Package namespace makes network namespaces for tests that talk to a kernel. They
// have no names: the kernel removes them when the test's process ends. Networks of
// several nodes and pods are package lab's.
package namespace

import (
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
)

// Namespace is a network namespace, which ends with the test.
type Namespace struct {
	t      testing.TB
	Handle netns.NsHandle
}

// New makes a namespace. A test that may not ends here.
func New(t testing.TB) *Namespace {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = home.Close() }()
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("network namespaces need root: %v", err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	return &Namespace{t, ns}
}

// In runs f on a thread in the namespace. An error ends the test.
func (n *Namespace) In(f func() error) {
	n.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := netns.Set(n.Handle)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}
