package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/test/namespace"
)

// world is a client and a server with a router between them, each a network
// namespace without a name: the kernel removes them with the test's process.
//
//	client 10.1.0.2, fd00:1::2 ── router .1, ::1 ── server 10.2.0.2, fd00:2::2
type world struct {
	t                      *testing.T
	client, router, server *namespace.Namespace
	table                  *Kernel
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, client: namespace.New(t), router: namespace.New(t), server: namespace.New(t)}
	w.link(w.client, "1")
	w.link(w.server, "2")
	for n, ns := range map[string]*namespace.Namespace{"1": w.client, "2": w.server} {
		w.router.In(func() error { return ready("to"+n, "fd00:"+n+"::1") })
		ns.In(func() error { return ready("eth0", "fd00:"+n+"::2") })
	}
	w.router.In(func() error {
		for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+f, []byte("1"), 0); err != nil {
				return err
			}
		}
		var err error
		w.table, err = New()
		return err
	})
	t.Cleanup(w.table.Close)
	return w
}

// link joins a namespace to the router by a veth pair.
func (w *world) link(ns *namespace.Namespace, n string) {
	w.router.In(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "to" + n}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.Handle),
		})
	})
	w.router.In(func() error { return address("to"+n, "10."+n+".0.1/24", "fd00:"+n+"::1/64") })
	ns.In(func() error {
		if err := address("eth0", "10."+n+".0.2/24", "fd00:"+n+"::2/64"); err != nil {
			return err
		}
		for _, via := range []string{"10." + n + ".0.1", "fd00:" + n + "::1"} {
			if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(via)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func address(name string, addrs ...string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// ready waits for an interface that is up to send and to answer for its IPv6
// address, which the kernel lets it a moment later: on a busy machine no answer to
// a neighbour's three questions is no route for it.
func ready(name, address string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		routes, err := netlink.RouteGet(net.ParseIP(address))
		if l.Attrs().OperState == netlink.OperUp && err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL {
			// The state is said before the queue is in place, both under the lock that
			// this no-op takes.
			return netlink.LinkSetUp(l)
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("interface %s is %s after a minute, address %s: %v", name, l.Attrs().OperState, address, routes), err)
		}
		time.Sleep(time.Millisecond)
	}
}

// nft runs a script of nft in the router.
func (w *world) nft(script string) string {
	w.t.Helper()
	var out []byte
	w.router.In(func() error {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(script)
		var err error
		if out, err = c.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
	return string(out)
}

// policy makes the router's ruleset anew, in one transaction: established
// connections pass, new ones meet the rules.
func (w *world) policy(rules ...string) {
	w.nft(`
table inet t
delete table inet t
table inet t {
	counter dropped { }
	chain forward {
		type filter hook forward priority 0; policy accept;
		meta l4proto { icmpv6 } icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ct state established,related accept
		` + strings.Join(rules, "\n\t\t") + `
	}
}`)
}

// dropped counts the packets that the rules have dropped since the last policy.
func (w *world) dropped() int {
	var n int
	out := w.nft("list counter inet t dropped")
	if i := strings.Index(out, "packets "); i < 0 {
		w.t.Fatalf("no counter in %s", out)
	} else if _, err := fmt.Sscanf(out[i:], "packets %d", &n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// eventually waits for something that no file descriptor tells of. Each try runs
// a command, which takes long enough.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for range 2000 {
		if ok() {
			return
		}
	}
	w.t.Fatalf("never: %s", what)
}

// entries returns what the router tracks of a port or, for 0, of all protocols.
func (w *world) entries(port uint16) []*Entry {
	w.t.Helper()
	var out []*Entry
	if err := w.table.List(context.Background(), func(e *Entry) bool {
		if port == 0 || e.Flow().DstPort == port || e.Original.DstPort == port {
			out = append(out, e)
		}
		return true
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// pair is the two ends of a connection.
type pair struct{ client, server net.Conn }

// open makes a connection from the client to the server and waits until the
// router has seen packets of both directions.
func (w *world) open(network, dial, listen string) *pair {
	w.t.Helper()
	p := &pair{}
	if strings.HasPrefix(network, "tcp") {
		var l net.Listener
		w.server.In(func() (err error) { l, err = net.Listen(network, listen); return err })
		defer func() { _ = l.Close() }()
		w.client.In(func() (err error) { p.client, err = net.Dial(network, dial); return err })
		var err error
		if p.server, err = l.Accept(); err != nil {
			w.t.Fatal(err)
		}
	} else {
		// The server answers from a connected socket, so that both ends look alike.
		var first net.PacketConn
		w.server.In(func() (err error) { first, err = net.ListenPacket(network, listen); return err })
		w.client.In(func() (err error) { p.client, err = net.Dial(network, dial); return err })
		if _, err := p.client.Write([]byte("hello")); err != nil {
			w.t.Fatal(err)
		}
		_ = first.SetReadDeadline(time.Now().Add(patience))
		_, peer, err := first.ReadFrom(make([]byte, 16))
		if err != nil {
			w.t.Fatalf("no first packet: %v", err)
		}
		_ = first.Close()
		local := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(listen))
		w.server.In(func() (err error) { p.server, err = net.DialUDP(network, local, peer.(*net.UDPAddr)); return err })
	}
	w.t.Cleanup(func() { _, _ = p.client.Close(), p.server.Close() })
	w.passes(p.client, p.server)
	w.passes(p.server, p.client)
	return p
}

// patience bounds waits that end at once unless something is broken.
const patience = 20 * time.Second

// passes fails unless what one end writes comes out of the other.
func (w *world) passes(from, to net.Conn) {
	w.t.Helper()
	if _, err := from.Write([]byte("data")); err != nil {
		w.t.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 64)
	n, err := to.Read(b)
	if err != nil || n == 0 || strings.Trim(string(b[:n]), "dat") != "" {
		w.t.Fatalf("from %s to %s: read %q, %v", from.LocalAddr(), to.LocalAddr(), b[:n], err)
	}
}

// cut fails unless what one end writes is dropped in the router, and never
// comes out of the other.
func (w *world) cut(from, to net.Conn) {
	w.t.Helper()
	before := w.dropped()
	if _, err := from.Write([]byte("data")); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("a packet from "+from.LocalAddr().String()+" is dropped", func() bool { return w.dropped() > before })
	_ = to.SetReadDeadline(time.Unix(1, 0))
	if n, err := to.Read(make([]byte, 64)); n > 0 || !os.IsTimeout(err) {
		w.t.Fatalf("from %s to %s: read %d bytes, %v", from.LocalAddr(), to.LocalAddr(), n, err)
	}
}

func states(entries []*Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.String())
	}
	slices.Sort(out)
	return out
}
