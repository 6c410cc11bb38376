package sctp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const insideVariable = "TIERWALL_SCTP_TEST"

// TestMain runs the tests in a network namespace of their own, as root of a user
// namespace where need be.
func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) == "" {
		os.Exit(inside())
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot set up lo:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func inside() int {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), insideVariable+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "cannot make a network namespace:", err)
		return 1
	}
	return c.ProcessState.ExitCode()
}

func serve(t *testing.T, ports map[uint16][]byte) {
	t.Helper()
	s, err := Listen(ports)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
}

func talk(to string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer, err := Dial(ctx, netip.MustParseAddrPort(to), []byte("hello\n"))
	return string(answer), err
}

var loopbacks = []string{"127.0.0.1", "[::1]"}

func TestDial(t *testing.T) {
	serve(t, map[uint16][]byte{9003: []byte("foo"), 9004: []byte("bar")})
	serve(t, map[uint16][]byte{9005: []byte("another process")})
	for _, a := range loopbacks {
		for port, want := range map[string]string{"9003": "foo", "9004": "bar", "9005": "another process"} {
			if got, err := talk(a+":"+port, 5*time.Second); err != nil || got != want {
				t.Errorf("%s:%s answers %q, %v; want %q", a, port, got, err, want)
			}
		}
		// Not silent: a test must be able to tell what was dropped.
		if _, err := talk(a+":9006", 5*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s:9006 is served by nobody: %v", a, err)
		}
	}
}

func TestListenRefusesAPortTwice(t *testing.T) {
	serve(t, map[uint16][]byte{9003: []byte("foo")})
	if _, err := Listen(map[uint16][]byte{9003: []byte("bar")}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port is served twice: %v", err)
	}
}

// The kernel's own opinion: its connection tracking checks sums, tags and the
// order of chunks, and calls invalid what is none of them.
func TestConnectionTrackingFollows(t *testing.T) {
	serve(t, map[uint16][]byte{9003: []byte("foo"), 9004: []byte("bar")})
	load := exec.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader(`table inet t {
	chain in {
		type filter hook input priority 0; policy drop;
		ct state invalid drop
		ct state established accept
		sctp dport 9003 ct state new accept
	}
}`)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("nft", "delete", "table", "inet", "t").CombinedOutput(); err != nil {
			t.Errorf("nft: %v: %s", err, out)
		}
	})
	for _, a := range loopbacks {
		if got, err := talk(a+":9003", 5*time.Second); err != nil || got != "foo" {
			t.Errorf("%s:9003 answers %q, %v", a, got, err)
		}
		if _, err := talk(a+":9004", 1500*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s:9004 is dropped: %v", a, err)
		}
	}
}
