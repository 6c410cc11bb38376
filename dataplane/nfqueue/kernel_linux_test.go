package nfqueue

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs the test on a thread of a network namespace of its own, in which all
// UDP of the loopback that goes to a port waits in a queue.
func inNamespace(t *testing.T, queue string) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("network namespaces need root: %v", err)
	}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "iptables-legacy", "-A", "OUTPUT", "-p", "udp", "--dport", "4000", "-j", "NFQUEUE", "--queue-num", queue, "--queue-bypass")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// sockets are a sender and a receiver over the loopback.
func sockets(t *testing.T) (send func(string), receive func(time.Duration) string) {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:4000")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", "127.0.0.1:4000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(); _ = c.Close() })
	return func(s string) {
			if _, err := c.Write([]byte(s)); err != nil {
				t.Error(err)
			}
		}, func(d time.Duration) string {
			b := make([]byte, 100)
			_ = l.SetReadDeadline(time.Now().Add(d))
			n, _, err := l.ReadFrom(b)
			if err != nil {
				return ""
			}
			return string(b[:n])
		}
}

func TestKernel(t *testing.T) {
	inNamespace(t, "77")
	send, receive := sockets(t)
	send("nobody reads")
	if got := receive(5 * time.Second); got != "nobody reads" {
		t.Fatalf("a queue that nobody reads has a packet wait: %q", got)
	}
	k, err := New(77)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	packets, bound, over := make(chan uint32, 100), make(chan struct{}), make(chan error, 1)
	var payload string
	go func() {
		over <- k.Run(ctx, func() { close(bound) }, func(list []Packet) {
			for i := range list {
				if s, ok := list[i].Segment(); ok {
					payload = string(s.Payload)
				}
				packets <- list[i].ID
			}
		})
	}()
	<-bound
	send("first")
	first := <-packets
	if got := receive(50 * time.Millisecond); got != "" || payload != "first" {
		t.Errorf("it does not wait: %q, read %q", got, payload)
	}
	if err := k.Accept([]uint32{first}); err != nil {
		t.Fatal(err)
	}
	if got := receive(5 * time.Second); got != "first" {
		t.Errorf("what was accepted does not come: %q", got)
	}
	if err := k.Accept([]uint32{first, 12345}); err != nil {
		t.Errorf("to accept what does not wait: %v", err)
	}
	// Another reader is refused, and says why.
	other, err := New(77)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context(), nil, func([]Packet) {}); !errors.Is(err, ErrTaken) {
		t.Errorf("a second reader: %v", err)
	}
	// What waits when the reader ends can be accepted still.
	send("last")
	last := <-packets
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if err := k.Accept([]uint32{last}); err != nil {
		t.Error(err)
	}
	if got := receive(5 * time.Second); got != "last" {
		t.Errorf("the last packet does not come: %q", got)
	}
	if err := errors.Join(k.Close(), other.Close()); err != nil {
		t.Error(err)
	}
	send("after")
	if got := receive(5 * time.Second); got != "after" {
		t.Errorf("after the reader has ended: %q", got)
	}
	if n := k.Missed(); n != 0 {
		t.Errorf("%d packets are missed", n)
	}
}

// TestFailOpen: what there is no room for goes on, unread.
func TestFailOpen(t *testing.T) {
	inNamespace(t, "78")
	send, receive := sockets(t)
	k, err := New(78)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	if err := k.send(bind(78, 10, 2)); err != nil { // nobody reads it
		t.Fatal(err)
	}
	for range 4 {
		send("x")
	}
	for range 2 {
		if got := receive(5 * time.Second); got != "x" {
			t.Fatal("a queue without room has lost a packet")
		}
	}
	if got := receive(50 * time.Millisecond); got != "" {
		t.Error("nothing waits")
	}
}

// TestSwitch: without rules that take it, nothing is renewed.
func TestSwitch(t *testing.T) {
	inNamespace(t, "79")
	s, err := NewSwitch()
	if err != nil {
		t.Fatal(err)
	}
	if s.Renew() || s.Release() || s.Renew() {
		t.Error("there are no rules, and the switch is renewed")
	}
	run(t, "iptables-legacy", "-t", "mangle", "-A", "OUTPUT", "-o", "lo", "-p", "udp", "--dport", "53", "-m", "mark", "--mark", "0x54574801", "-j", "DROP")
	if s.fds[2] >= 0 {
		if s.Renew() {
			t.Error("the rules of IPv6 are not there yet, and the switch is renewed in all families")
		}
		run(t, "ip6tables-legacy", "-t", "mangle", "-A", "OUTPUT", "-o", "lo", "-p", "udp", "--dport", "53", "-m", "mark", "--mark", "0x54574801", "-j", "DROP")
	}
	if !s.Renew() || s.Release() {
		t.Error("a rule takes the datagram, and the kernel does not say so")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
