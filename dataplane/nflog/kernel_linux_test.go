package nflog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// inNamespace runs the test on a thread of a network namespace of its own, with
// a table that logs all UDP of the loopback to a group.
func inNamespace(t *testing.T, group int) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("network namespaces need root: %v", err)
	}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "nft", fmt.Sprintf(`add table inet t; add chain inet t out { type filter hook output priority 0; };
		add rule inet t out meta l4proto udp meta mark set 0x77 log prefix "c-test some rule" group %d`, group))
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// open returns a reader that runs until the test ends.
func open(t *testing.T, group uint16, buffer int, each func(*Packet)) *Kernel {
	t.Helper()
	k, err := New(group, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.conn.SetReadBuffer(buffer); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- k.Run(ctx, each) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// sender sends UDP packets over the loopback, from the test's namespace.
func sender(t *testing.T, network, to string) (from net.Conn, send func()) {
	t.Helper()
	l, err := net.ListenPacket(network, to) // else every second one would be refused
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c, err := net.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, func() {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
}

func TestKernel(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			inNamespace(t, 21)
			got := make(chan *Packet, 1000)
			k := open(t, 21, receiveBuffer, func(p *Packet) { got <- p })
			addr := map[string]string{"udp4": "127.0.0.1", "udp6": "::1"}[network]
			c, send := sender(t, network, net.JoinHostPort(addr, "5353"))
			p := first(t, got, send)
			local := c.LocalAddr().(*net.UDPAddr).AddrPort()
			if p.Prefix != "c-test some rule" || p.Hook != Output || p.In != "" || p.Out != "lo" || p.Mark != 0x77 ||
				p.Src != local.Addr().Unmap() || p.SrcPort != local.Port() || p.Dst.String() != addr || p.DstPort != 5353 || p.Protocol != model.UDP {
				t.Errorf("%+v", p)
			}
			if want := map[string]int{"udp4": 29, "udp6": 49}[network]; p.Length != want {
				t.Errorf("length %d, want %d", p.Length, want)
			}
			if k.Lost() != 0 {
				t.Errorf("%d lost", k.Lost())
			}
		})
	}
}

// first sends until something is logged: the group is bound a moment after Run has begun.
func first(t *testing.T, got <-chan *Packet, send func()) *Packet {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		send()
		select {
		case p := <-got:
			return p
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing is logged")
		}
	}
}

// TestLosses holds that a reader that is too slow loses packets, counts every one
// of them, and goes on.
func TestLosses(t *testing.T) {
	inNamespace(t, 22)
	got, gate := make(chan *Packet, 1_000_000), make(chan struct{})
	k := open(t, 22, 128<<10, func(p *Packet) { <-gate; got <- p })
	_, send := sender(t, "udp4", "127.0.0.1:5353")
	_, mark := sender(t, "udp4", "127.0.0.1:5354")
	// The reader takes the first packet only when the gate opens, so from then on
	// all that is sent is either received or lost.
	go func() { gate <- struct{}{} }()
	base := first(t, got, mark)
	start := k.Lost()
	const sent = 20_000
	for range sent {
		send()
	}
	close(gate)
	// A packet of the other port ends the count, once all were sent.
	received, last := uint64(0), base
	for last.DstPort != 5354 || last.seq <= base.seq+sent {
		last = first(t, got, mark)
		received++
	}
	lost := k.Lost() - start
	if want := uint64(last.seq - base.seq); received+lost != want {
		t.Errorf("%d received and %d lost of %d", received, lost, want)
	}
	if lost == 0 {
		t.Error("nothing was lost: the test shows nothing")
	}
	t.Logf("%d received, %d lost", received, lost)
}

// TestOneReader holds that a second reader is told so, and gets the group once it is free.
func TestOneReader(t *testing.T) {
	inNamespace(t, 23)
	got := make(chan *Packet, 1000)
	k, err := New(23, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- k.Run(ctx, func(p *Packet) { got <- p }) }()
	_, send := sender(t, "udp4", "127.0.0.1:5353")
	first(t, got, send)

	second, err := New(23, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(context.Background(), func(*Packet) {}); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "group 23") {
		t.Errorf("second reader: %v", err)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	// The first one has given the group back, and can have it again, counting from nothing.
	for _, r := range []*Kernel{second, k} {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { over <- r.Run(ctx, func(p *Packet) { got <- p }) }()
		first(t, got, send)
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		for len(got) > 0 {
			<-got
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := k.Lost() + second.Lost(); n != 0 {
		t.Errorf("%d lost", n)
	}
}

func TestNames(t *testing.T) {
	inNamespace(t, 24)
	k, err := New(24, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.names.of(1); got != "lo" {
		t.Errorf("1 is %q", got)
	}
	if got := k.names.of(77); got != "#77" {
		t.Errorf("77 is %q", got)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
