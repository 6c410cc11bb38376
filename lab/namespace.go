//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name: it lives as long as the file.
type namespace struct{ file *os.File }

// sysctls is a list of names below /proc/sys/net and their values.
type sysctls []struct{ name, value string }

// everywhere is set in each namespace, before it has any interface. All of it
// is per namespace; names that a kernel lacks are passed over.
var everywhere = sysctls{
	// Sources are those of the probe: routing never second-guesses them.
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	{"ipv4/conf/all/send_redirects", "0"},
	{"ipv4/conf/default/send_redirects", "0"},
	{"ipv4/conf/all/accept_redirects", "0"},
	{"ipv4/conf/default/accept_redirects", "0"},
	// An address that goes takes no other with it.
	{"ipv4/conf/all/promote_secondaries", "1"},
	{"ipv4/conf/default/promote_secondaries", "1"},
	// An address is usable at once, and no router that is not of the lab is heeded.
	{"ipv6/conf/all/disable_ipv6", "0"},
	{"ipv6/conf/default/disable_ipv6", "0"},
	{"ipv6/conf/all/accept_dad", "0"},
	{"ipv6/conf/default/accept_dad", "0"},
	{"ipv6/conf/all/accept_ra", "0"},
	{"ipv6/conf/default/accept_ra", "0"},
	{"ipv6/conf/all/router_solicitations", "0"},
	{"ipv6/conf/default/router_solicitations", "0"},
	{"ipv6/conf/all/accept_redirects", "0"},
	{"ipv6/conf/default/accept_redirects", "0"},
	// An ICMP error that tells of a rejected probe is never held back.
	{"ipv4/icmp_ratelimit", "0"},
	{"ipv4/icmp_ratemask", "0"},
	{"ipv6/icmp/ratelimit", "0"},
}

// forwards is set on nodes and on the wire.
var forwards = sysctls{
	{"ipv4/ip_forward", "1"},
	{"ipv6/conf/all/forwarding", "1"},
	{"ipv6/conf/default/forwarding", "1"},
}

// newNamespace makes a namespace.
func newNamespace(settings sysctls) (*namespace, error) {
	runtime.LockOSThread()
	home, err := threadNetns()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer closeQuietly(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("lab: cannot make a network namespace: %w", err)
	}
	defer goHome(home)
	file, err := threadNetns()
	if err != nil {
		return nil, err
	}
	for _, list := range []sysctls{everywhere, settings} {
		for _, s := range list {
			err := os.WriteFile("/proc/sys/net/"+s.name, []byte(s.value), 0)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				closeQuietly(file)
				return nil, fmt.Errorf("lab: cannot set a sysctl of a new network namespace, is /proc/sys read-only (a container)? %w", err)
			}
		}
	}
	return &namespace{file}, nil
}

// threadNetns is the namespace of the calling thread.
func threadNetns() (*os.File, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return f, nil
}

// goHome brings a locked thread back to where it was. If that fails the thread
// stays locked, and the runtime ends it with its goroutine.
func goHome(home *os.File) {
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
}

// do runs a function on a thread in the namespace.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	home, err := threadNetns()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer closeQuietly(home)
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("lab: cannot enter a network namespace: %w", err)
	}
	defer goHome(home)
	return f()
}

func (n *namespace) close() { closeQuietly(n.file) }

// closeQuietly closes what has nothing to lose.
func closeQuietly(c io.Closer) { _ = c.Close() }
