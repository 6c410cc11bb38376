//go:build linux

package machine

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/vishvananda/netns"
)

// Dial connects from the machine's network, whatever the caller's is. The
// address must be numeric: names are not looked up there.
func (m *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	ns, err := m.Network()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("machine %s: %w", m.name, err)
	}
	defer func() { _ = home.Close() }()
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("machine %s: cannot enter its network: %w", m.name, err)
	}
	defer func() {
		// A thread that cannot go home stays locked and ends with its goroutine.
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}

// Reexec makes sure that this whole program is in the machine's network. It
// returns nil at once where it is; else it runs the program anew, with the same
// arguments, environment and files, in the place of this process, and does not
// return. Call it first in main or TestMain. Files, processes and all else stay
// those of the host.
func (m *Machine) Reexec() error {
	ns, err := m.Network()
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.name, err)
	}
	defer func() { _ = here.Close() }()
	if here.Equal(ns) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.name, err)
	}
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("machine %s: cannot enter its network: %w", m.name, err)
	}
	// The new program has the namespaces of the thread that calls for it.
	err = syscall.Exec(self, os.Args, os.Environ())
	return fmt.Errorf("machine %s: cannot run %s again: %w", m.name, self, err)
}

// Listens says why a program of the machine does not listen on a Unix socket;
// nil if one does. Its path must lead over no absolute link, as /var/run may be
// one: that would lead out of the machine.
func (m *Machine) Listens(ctx context.Context, socket string) error {
	if !m.Alive() {
		return fmt.Errorf("machine %s: is off", m.name)
	}
	path := fmt.Sprintf("/proc/%d/root%s", m.process.PID, socket)
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.name, err)
	}
	return connection.Close()
}
