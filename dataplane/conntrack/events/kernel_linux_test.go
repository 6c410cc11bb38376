package events

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/namespace"
)

// host is a network namespace that tracks connections, and sends them to where nobody is.
type host struct {
	t     testing.TB
	ns    *namespace.Namespace
	table *conntrack.Kernel
	send  [2]int // sockets of UDP, by family
}

var (
	near4, far4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	near6, far6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

func newHost(t testing.TB, counts string) *host {
	t.Helper()
	h := &host{t: t, ns: namespace.New(t)}
	h.ns.In(func() error {
		if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_acct", []byte(counts), 0); err != nil {
			return err
		}
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(`
table inet t {
	chain output {
		type filter hook output priority 0
		udp dport 9 drop
		ct state invalid drop
	}
}`)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer"}); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(l, addr); err != nil {
				return err
			}
		}
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		// A host that heard of itself by its other end would track that too.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/peer/disable_ipv6", []byte("1"), 0); err != nil {
			return err
		}
		if err := errors.Join(netlink.LinkSetUp(peer), netlink.LinkSetUp(l)); err != nil {
			return err
		}
		for _, a := range []netip.Addr{far4, far6} {
			n := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: []byte{2, 0, 0, 0, 0, 1}}
			if err := netlink.NeighAdd(n); err != nil {
				return err
			}
		}
		if h.table, err = conntrack.New(); err != nil {
			return err
		}
		if h.send[0], err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		h.send[1], err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	t.Cleanup(func() {
		h.table.Close()
		_, _ = unix.Close(h.send[0]), unix.Close(h.send[1])
	})
	return h
}

func (h *host) open() *Kernel {
	h.t.Helper()
	var k *Kernel
	h.ns.In(func() (err error) { k, err = New(); return err })
	h.t.Cleanup(func() { _ = k.Close() })
	return k
}

// begin has a connection begin.
func (h *host) begin(to netip.AddrPort) {
	h.t.Helper()
	var err error
	if to.Addr().Is4() {
		err = unix.Sendto(h.send[0], []byte("hello"), 0, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	} else {
		err = unix.Sendto(h.send[1], []byte("hello"), 0, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	}
	if err != nil && to.Port() != 9 {
		h.t.Fatal(err)
	}
}

// end has all connections end.
func (h *host) end() {
	h.t.Helper()
	var list []*conntrack.Entry
	if err := h.table.List(context.Background(), func(e *conntrack.Entry) bool { list = append(list, e); return true }); err != nil {
		h.t.Fatal(err)
	}
	for _, e := range list {
		if _, err := h.table.Delete(context.Background(), e); err != nil {
			h.t.Fatal(err)
		}
	}
}

// read returns the events of UDP that wait.
func (h *host) read(k *Kernel, limit int) []Event {
	h.t.Helper()
	var out []Event
	if _, err := k.Read(limit, func(e *Event) {
		if e.Original.Protocol == model.UDP {
			out = append(out, *e)
		}
	}); err != nil {
		h.t.Fatal(err)
	}
	return out
}

// TestKernel reads what has begun and ended, of both families, with what was carried, and
// nothing of what a rule has dropped.
func TestKernel(t *testing.T) {
	for _, counts := range []string{"1", "0"} {
		t.Run("nf_conntrack_acct "+counts, func(t *testing.T) {
			h := newHost(t, counts)
			var on bool
			h.ns.In(func() (err error) { on, err = Counts(); return err })
			if on != (counts == "1") {
				t.Errorf("Counts: %t", on)
			}
			k := h.open()
			if got := h.read(k, 0); got != nil {
				t.Fatalf("before anything: %+v", got)
			}
			h.begin(netip.AddrPortFrom(far4, 9)) // dropped
			h.begin(netip.AddrPortFrom(far4, 53))
			h.begin(netip.AddrPortFrom(far6, 53))
			began := h.read(k, 0)
			if len(began) != 2 {
				t.Fatalf("began: %+v", began)
			}
			for i, near := range []netip.Addr{near4, near6} {
				e := began[i]
				if e.Kind != Began || e.Original.Src != near || e.Original.DstPort != 53 || e.Reply.Dst != near || e.Counted || e.Replied || e.ID == 0 {
					t.Errorf("began: %+v", e)
				}
			}
			var open []Event
			if err := k.Dump(func(e *Event) { open = append(open, *e) }); err != nil || len(open) != 2 {
				t.Fatalf("dump: %+v, %v", open, err)
			}
			h.end()
			ended := h.read(k, 0)
			if len(ended) != 2 {
				t.Fatalf("ended: %+v", ended)
			}
			for i, length := range []uint64{20 + 8 + 5, 40 + 8 + 5} {
				e, b := ended[i], began[i]
				if e.Original.Src != b.Original.Src {
					b = began[1-i]
					length = map[bool]uint64{true: 33, false: 53}[e.Original.Src.Is4()]
				}
				want := Volume{}
				if on {
					want = Volume{1, length}
				}
				if e.Kind != Ended || e.Original != b.Original || e.ID != b.ID || e.Counted != on || e.Sent != want || e.Received != (Volume{}) {
					t.Errorf("ended: %+v", e)
				}
			}
			if n := k.Lost(); n != 0 {
				t.Errorf("%d lost", n)
			}
		})
	}
}

// TestKernelLimit reads part by part.
func TestKernelLimit(t *testing.T) {
	h := newHost(t, "0")
	k := h.open()
	for port := range uint16(2*batch + 10) {
		h.begin(netip.AddrPortFrom(far4, 1000+port))
	}
	if got := len(h.read(k, batch+5)); got != batch+5 {
		t.Errorf("%d events", got)
	}
	if got := len(h.read(k, 0)); got != batch+5 {
		t.Errorf("%d events are left", got)
	}
}

// TestKernelLoss counts what did not fit, goes on, and shows by a dump what is open.
func TestKernelLoss(t *testing.T) {
	h := newHost(t, "0")
	k := h.open()
	if err := unix.SetsockoptInt(k.socket, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	for port := range uint16(100) {
		h.begin(netip.AddrPortFrom(far4, 1000+port))
	}
	got := len(h.read(k, 0))
	if k.Lost() == 0 || got >= 100 {
		t.Errorf("%d events, %d lost", got, k.Lost())
	}
	n := 0
	if err := k.Dump(func(*Event) { n++ }); err != nil || n != 100 {
		t.Errorf("dump: %d, %v", n, err)
	}
	h.begin(netip.AddrPortFrom(far6, 53))
	if got := len(h.read(k, 0)); got != 1 {
		t.Errorf("%d events after the loss", got)
	}
}

// BenchmarkRead is the cost of an event in the reader, with the system calls.
func BenchmarkRead(b *testing.B) {
	h := newHost(b, "1")
	k := h.open()
	const many = 500 // 50 ms of 10,000 events a second
	b.ReportAllocs()
	took, read, port := time.Duration(0), 0, 0
	for b.Loop() {
		for range many {
			port = (port + 1) % 60_000
			h.begin(netip.AddrPortFrom(far4, uint16(1000+port)))
		}
		began := time.Now()
		_, err := k.Read(0, func(*Event) { read++ })
		took += time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		if port > 50_000 {
			b.StopTimer()
			h.end()
			_, _ = k.Read(0, func(*Event) {})
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(read), "ns/event")
}

// BenchmarkListener is what a connection costs the one who opens it: the kernel alone, and
// with somebody who listens. Nothing else happens to the connection, which is the worst case.
func BenchmarkListener(b *testing.B) {
	for _, listens := range []bool{false, true} {
		b.Run(fmt.Sprintf("listener=%t", listens), func(b *testing.B) {
			h := newHost(b, "1")
			var k *Kernel
			if listens {
				k = h.open()
			}
			port := 0
			for b.Loop() {
				port++
				h.begin(netip.AddrPortFrom(far4, uint16(1000+port)))
				if port%500 == 0 && k != nil {
					_, _ = k.Read(0, func(*Event) {})
				}
				if port == 60_000 {
					b.StopTimer()
					h.end()
					if k != nil {
						_, _ = k.Read(0, func(*Event) {})
					}
					port = 0
					b.StartTimer()
				}
			}
		})
	}
}
