package links

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/namespace"
)

// place is a network namespace, which ends with the test.
type place struct {
	*namespace.Namespace
	t *testing.T
}

func newPlace(t *testing.T) *place {
	t.Helper()
	return &place{namespace.New(t), t}
}

// ip runs commands of the program ip, a line each.
func (n *place) ip(script string) {
	n.t.Helper()
	n.In(func() error {
		c := exec.Command("ip", "-force", "-batch", "-")
		c.Stdin = strings.NewReader(script)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, out)
		}
		return nil
	})
}

func (n *place) reader() *Kernel {
	n.t.Helper()
	var k *Kernel
	n.In(func() (err error) { k, err = New(); return err })
	n.t.Cleanup(k.Close)
	return k
}

// pod makes a namespace with an eth0 whose peer is here.
func (n *place) pod(peer string, addrs ...string) *place {
	n.t.Helper()
	p := newPlace(n.t)
	n.In(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: peer}, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.Handle)})
	})
	script := "link set eth0 up\n"
	for _, a := range addrs {
		script += "addr add " + a + " dev eth0 nodad\n"
	}
	p.ip(script)
	n.ip("link set " + peer + " up")
	return p
}

// shown reads the Links, without link-local addresses, which come a moment later.
func (k *Kernel) shown(t *testing.T, pods Pods) map[string][]string {
	t.Helper()
	l, err := k.Read(pods)
	if err != nil {
		t.Fatal(err)
	}
	l.Addrs = slices.DeleteFunc(l.Addrs, func(a model.LinkAddr) bool { return a.Addr.IsLinkLocalUnicast() })
	return show(l)
}

func check(t *testing.T, got map[string][]string, what string, want ...string) {
	t.Helper()
	if !slices.Equal(got[what], want) {
		t.Errorf("%s: got %q, want %q", what, got[what], want)
	}
}

func TestKernel(t *testing.T) {
	n := newPlace(t)
	n.ip(`link set lo up
link add eth0 type veth peer name wire
link set wire up
link set eth0 up
addr add 192.0.2.1/24 dev eth0
addr add 2001:db8::1/64 dev eth0 nodad
addr add 203.0.113.80/32 dev lo
addr add 192.0.2.9 peer 192.0.2.10/32 dev wire
route add default via 192.0.2.254
route add default dev eth0 metric 9 table 77
route add local 198.51.100.7/32 dev lo
route add local 198.51.101.0/24 dev lo
route add blackhole 10.9.0.0/16
route add unreachable 10.8.0.0/16
route add 10.7.0.0/16 nexthop dev wire weight 1 nexthop via 192.0.2.254 weight 1
route add ::/0 dev eth0 metric 5
link add vxlan.calico type vxlan id 4096 dstport 4789 dev eth0
link set vxlan.calico up
route add 10.244.1.0/26 dev vxlan.calico
link add idle type vxlan id 4097 dstport 4790 dev eth0`)
	n.pod("cali1", "10.1.1.10/32", "fd00::10/128")
	n.ip("route add 10.1.1.10/32 dev cali1\nroute add fd00::10/128 dev cali1")
	got := n.reader().shown(t, podsOf("10.1.1.10", "fd00::10", "192.0.2.10"))
	check(t, got, "addrs", "127.0.0.1 lo", "192.0.2.1 eth0", "192.0.2.9 wire", "198.51.100.7 lo", "203.0.113.80 lo", "::1 lo", "2001:db8::1 eth0")
	check(t, got, "routes", "192.0.2.10/32 wire", "10.244.1.0/26 vxlan.calico", "10.7.0.0/16 wire", "0.0.0.0/0 eth0", "::/0 eth0")
	check(t, got, "pods", "10.1.1.10 cali1", "fd00::10 cali1")
	check(t, got, "tunnels", "vxlan.calico UDP 4789")
}

// bridged is a node whose pods are on a bridge.
func bridged(t *testing.T) *place {
	n := newPlace(t)
	n.ip(`link add cni0 type bridge
link set cni0 up
addr add 10.1.1.1/24 dev cni0
addr add fd00:1::1/64 dev cni0 nodad`)
	return n
}

func TestKernelBridge(t *testing.T) {
	n := bridged(t)
	k := n.reader()
	p1 := n.pod("veth1", "10.1.1.10/24", "fd00:1::10/64")
	n.pod("veth2", "10.1.1.11/24")
	n.ip("link set veth1 master cni0\nlink set veth2 master cni0")
	pods := podsOf("10.1.1.10", "fd00:1::10", "10.1.1.11", "10.1.1.12")
	want := []string{"10.1.1.10 cni0 veth1", "10.1.1.11 cni0 veth2", "fd00:1::10 cni0 veth1"}
	// Nobody has sent anything, and the kernel's tables of neighbours are empty.
	check(t, k.shown(t, pods), "pods", want...)
	// Another pod takes the address, too: it comes too late.
	n.pod("veth3", "10.1.1.10/24")
	n.ip("link set veth3 master cni0")
	check(t, k.shown(t, pods), "pods", want...)
	// Whoever starts now does not know whose it is.
	check(t, n.reader().shown(t, pods), "pods", want[1:]...)
	p1.ip("addr del 10.1.1.10/24 dev eth0")
	check(t, k.shown(t, pods), "pods", want...)
	n.ip("link del veth1")
	check(t, k.shown(t, pods), "pods", "10.1.1.10 cni0 veth3", "10.1.1.11 cni0 veth2")
}

// TestKernelNeighbours finds ports where no address shows in a namespace.
func TestKernelNeighbours(t *testing.T) {
	n := bridged(t)
	k := n.reader()
	k.blind = true
	p := n.pod("veth1", "10.1.1.10/24")
	other := n.pod("veth2", "10.1.1.11/24")
	n.ip("link set veth1 master cni0\nlink set veth2 master cni0")
	pods := podsOf("10.1.1.10")
	check(t, k.shown(t, pods), "pods")
	send := func(from *place) {
		from.In(func() error {
			c, err := net.Dial("udp", "10.1.1.1:9")
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_, err = c.Write([]byte("x"))
			return err
		})
	}
	// The answer to a question of its own teaches the node the neighbour.
	deadline := time.Now().Add(time.Minute)
	for send(p); len(k.shown(t, pods)["pods"]) == 0; send(p) {
		if time.Now().After(deadline) {
			t.Fatal("the port is never found")
		}
	}
	check(t, k.shown(t, pods), "pods", "10.1.1.10 cni0 veth1")
	// The other pod takes over address and MAC.
	var m net.HardwareAddr
	p.In(func() error {
		l, err := netlink.LinkByName("eth0")
		if err == nil {
			m = l.Attrs().HardwareAddr
		}
		return err
	})
	other.ip("addr add 10.1.1.10/24 dev eth0\nlink set eth0 address " + m.String())
	send(other)
	check(t, k.shown(t, pods), "pods", "10.1.1.10 cni0 veth1")
}

func TestKernelWatch(t *testing.T) {
	n := bridged(t)
	k := n.reader()
	ctx, cancel := context.WithCancel(context.Background())
	changes, over := make(chan struct{}, 10000), make(chan error, 1)
	go func() { over <- k.Watch(ctx, func() { changes <- struct{}{} }) }()
	for _, script := range []string{
		"link add t0 type vxlan id 5 dstport 4789", "addr add 192.0.2.7/32 dev cni0", "addr del 192.0.2.7/32 dev cni0",
		"link set t0 up", "route add 10.7.0.0/16 dev cni0", "route del 10.7.0.0/16 dev cni0", "link del t0",
	} {
		quiet(k, changes)
		n.ip(script)
		select {
		case <-changes:
		case <-time.After(time.Minute):
			t.Fatalf("%q is no news", script)
		}
	}
	quiet(k, changes)
	n.ip("neigh add 10.1.1.77 lladdr 02:00:00:00:00:01 dev cni0\nroute add 10.7.0.0/16 dev cni0 table 99\nroute add blackhole 10.6.0.0/16")
	quiet(k, changes)
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// quiet waits until what was announced before has been taken note of.
func quiet(k *Kernel, changes chan struct{}) {
	for {
		pending := false
		conn, err := k.events.file.SyscallConn()
		if err != nil {
			return
		}
		_ = conn.Control(func(fd uintptr) {
			var b [1]byte
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			pending = err == nil
		})
		if !pending && len(changes) == 0 {
			return
		}
		for len(changes) > 0 {
			<-changes
		}
		runtime.Gosched()
	}
}

func TestMatters(t *testing.T) {
	route := func(kind uint16, table, typ, flags byte) []byte {
		b := make([]byte, headerSize+unix.SizeofRtMsg)
		b[0], b[4] = byte(len(b)), byte(kind)
		b[headerSize+4], b[headerSize+7], b[headerSize+9] = table, typ, flags
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"a route of main", route(unix.RTM_NEWROUTE, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, 0), true},
		{"a local one", route(unix.RTM_DELROUTE, unix.RT_TABLE_LOCAL, unix.RTN_LOCAL, 0), true},
		{"broadcast", route(unix.RTM_NEWROUTE, unix.RT_TABLE_LOCAL, unix.RTN_BROADCAST, 0), false},
		{"of another table", route(unix.RTM_NEWROUTE, 99, unix.RTN_UNICAST, 0), false},
		{"a cached one", route(unix.RTM_NEWROUTE, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, 2), false},
		{"a neighbour", route(unix.RTM_NEWNEIGH, 0, 0, 0), false},
		{"one of two", append(route(unix.RTM_NEWNEIGH, 0, 0, 0), route(unix.RTM_NEWADDR, 0, 0, 0)...), true},
		{"cut short", []byte{200, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, true},
		{"nothing", nil, false},
	} {
		if got := matters(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRouteOf(t *testing.T) {
	_, block, _ := net.ParseCIDR("10.7.0.0/16")
	for _, c := range []struct {
		name string
		in   netlink.Route
		want route
		ok   bool
	}{
		{"no destination", netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Family: unix.AF_INET6, LinkIndex: 3, Gw: net.IPv6loopback},
			route{net: netip.MustParsePrefix("::/0"), index: 3, gateway: true}, true},
		{"several ways, the first of them dead", netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Dst: block, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: 4, Flags: unix.RTNH_F_DEAD}, {LinkIndex: 5, Gw: net.IPv4(10, 0, 0, 1)}}},
			route{net: netip.MustParsePrefix("10.7.0.0/16"), index: 5, gateway: true}, true},
		{"a dead one", netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Dst: block, Flags: unix.RTNH_F_DEAD}, route{}, false},
		{"multicast", netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_MULTICAST, Dst: block}, route{}, false},
		{"a bad block", netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Dst: &net.IPNet{IP: net.IP{1}, Mask: net.IPMask{1}}}, route{}, false},
	} {
		if got, ok := routeOf(&c.in); got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v, %v", c.name, got, ok)
		}
	}
}

func TestParseWireGuard(t *testing.T) {
	if port, ok := parseWireGuard([]byte{0, 1, 0, 0, 8, 0, 1, 0, 9, 0, 0, 0, 6, 0, 6, 0, 0x6c, 0xca, 0, 0}); port != 51820 || !ok {
		t.Errorf("port %d, %v", port, ok)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte{28, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 1, 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		matters(b)
		parseInside(b, 1)
		parseWireGuard(b)
	})
}
