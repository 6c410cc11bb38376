//go:build linux

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// initName is what process 1 of a machine calls itself; the program's own main
// is then never reached.
const initName = "tierwall-machine"

// Files that process 1 inherits: it reads its Spec and then waits for leave to
// stay on one, and answers on the other.
const (
	specFD  = 3
	readyFD = 4
)

// stay is the leave to stay, after the Spec.
const stay = "stay\n"

// socketPath is where process 1 takes orders, as the machine sees it.
const socketPath = private + "/machine.sock"

func init() {
	if len(os.Args) == 0 || os.Args[0] != initName {
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "machine: not process 1 of a machine")
		os.Exit(1)
	}
	if err := runInit(); err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runInit is the life of process 1. It ends by SIGKILL, or when nobody has
// taken note of it.
func runInit() error {
	unix.CloseOnExec(specFD)
	unix.CloseOnExec(readyFD)
	orders, ready := os.NewFile(specFD, "spec"), os.NewFile(readyFD, "ready")
	decoder := json.NewDecoder(orders)
	var s Spec
	if err := decoder.Decode(&s); err != nil {
		return fmt.Errorf("cannot read the spec: %w", err)
	}
	services, listener, err := boot(&s)
	if err != nil {
		// The one who started it is told by the same words as the log.
		fmt.Fprintln(ready, err)
		return err
	}
	if _, err := io.WriteString(ready, stay); err != nil {
		return fmt.Errorf("nobody waits for the machine: %w", err)
	}
	if err := ready.Close(); err != nil {
		return err
	}
	// Whoever started it has written its number down, or has died before: a
	// machine that nobody knows must not stay.
	left := io.MultiReader(decoder.Buffered(), orders)
	word := make([]byte, len(stay)+1)
	if _, err := io.ReadFull(left, word); err != nil {
		return fmt.Errorf("nobody took note of the machine: %w", err)
	}
	if err := orders.Close(); err != nil {
		return err
	}
	log.Printf("machine %s is up", s.Name)
	go services.reap()
	serve(listener, services)
	return nil
}

// boot makes the machine what its spec says.
func boot(s *Spec) (*services, net.Listener, error) {
	// A test program is large, its process 1 needs little.
	debug.SetMemoryLimit(64 << 20)
	debug.SetGCPercent(50)
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return nil, nil, fmt.Errorf("cannot set the host name: %w", err)
	}
	if err := mountAll(s); err != nil {
		return nil, nil, err
	}
	for _, c := range s.Sysctls {
		err := os.WriteFile(sysctlRoot+c.Name, []byte(c.Value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("cannot set a sysctl: %w", err)
		}
	}
	if err := loopbackUp(); err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("unix", socketPath)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot listen for orders: %w", err)
	}
	return newServices(filepath.Join(s.Dir, "log")), listener, nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("no loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("cannot bring up the loopback interface: %w", err)
	}
	return nil
}
