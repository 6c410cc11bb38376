package links

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// world is a listing under construction, with names in the place of indexes.
type world struct {
	t       *testing.T
	listing listing
	index   map[string]int
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, index: map[string]int{}}
	w.link("lo", "")
	w.addr("lo", "127.0.0.1/8")
	return w
}

func (w *world) link(name, kind string, options ...func(*link)) *world {
	l := link{index: len(w.index) + 1, name: name, kind: kind, up: true, namespace: -1}
	w.index[name] = l.index
	for _, o := range options {
		o(&l)
	}
	w.listing.links = append(w.listing.links, l)
	return w
}

// abroad: the peer is in another namespace.
func abroad(l *link) { l.abroad, l.namespace, l.peer = true, l.index, 2 }

func (w *world) port(bridge string) func(*link) {
	return func(l *link) { abroad(l); l.master = w.index[bridge] }
}

func (w *world) addr(name string, prefixes ...string) *world {
	for _, p := range prefixes {
		w.listing.addrs = append(w.listing.addrs, address{w.index[name], netip.MustParsePrefix(p)})
	}
	return w
}

// route adds "BLOCK INTERFACE" to the main table, with options after it.
func (w *world) route(text string) *world {
	f := strings.Fields(text)
	r := route{net: netip.MustParsePrefix(f[0]), index: w.index[f[1]]}
	for _, o := range f[2:] {
		switch {
		case o == "local":
			r.local = true
		case o == "via":
			r.gateway = true
		case o == "learned":
			r.learned = true
		default:
			if _, err := fmt.Sscanf(o, "metric=%d", &r.priority); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.listing.routes = append(w.listing.routes, r)
	return w
}

func (w *world) inside(port string, addrs ...string) *world {
	for _, a := range addrs {
		w.listing.inside = append(w.listing.inside, insideAddr{w.index[port], netip.MustParseAddr(a)})
	}
	return w
}

// learned notes that an address has answered on a bridge from a port.
func (w *world) learned(bridge, port, addr string, m byte) *world {
	w.listing.neighbours = append(w.listing.neighbours, neighbour{w.index[bridge], netip.MustParseAddr(addr), mac{2, m}})
	return w.station(bridge, port, m)
}

func (w *world) station(bridge, port string, m byte) *world {
	w.listing.stations = append(w.listing.stations, station{w.index[bridge], w.index[port], mac{2, m}})
	return w
}

func podsOf(addrs ...string) Pods {
	out := Pods{}
	for _, a := range addrs {
		out[netip.MustParseAddr(a)] = model.Ref{Kind: model.KindPod, Namespace: "app", Name: "p" + a}
	}
	return out
}

func (w *world) read(s *seats, pods Pods) *model.Links { return s.links(newNetwork(&w.listing), pods) }

func show(l *model.Links) map[string][]string {
	out := map[string][]string{}
	for _, a := range l.Addrs {
		out["addrs"] = append(out["addrs"], a.Addr.String()+" "+a.Interface)
	}
	for _, r := range l.Routes {
		out["routes"] = append(out["routes"], r.Net.String()+" "+r.Interface)
	}
	for _, p := range l.Pods {
		out["pods"] = append(out["pods"], strings.TrimSpace(p.Addr.String()+" "+p.Interface+" "+p.Port))
	}
	for _, t := range l.Tunnels {
		out["tunnels"] = append(out["tunnels"], fmt.Sprintf("%s %s %d", t.Interface, t.Protocol, t.Port))
	}
	return out
}

// node is a node with an uplink and a default route, on which networks are built.
func node(t *testing.T) *world {
	return newWorld(t).link("eth0", "").addr("eth0", "192.0.2.1/24").
		route("0.0.0.0/0 eth0 via").route("192.0.2.0/24 eth0")
}

func TestPods(t *testing.T) {
	const p1, p2, v6 = "10.1.1.10", "10.1.1.11", "fd00::10"
	for _, c := range []struct {
		name  string
		world func(w *world)
		want  []string
	}{
		{"Calico: a route to each address alone", func(w *world) {
			w.link("cali1", "veth", abroad).link("cali2", "veth", abroad).addr("cali1", "fe80::ecee/64").
				route(p1 + "/32 cali1").route(v6 + "/128 cali1").route(p2 + "/32 cali2")
		}, []string{p1 + " cali1", p2 + " cali2", v6 + " cali1"}},
		{"AWS VPC CNI, addresses of the node's own subnet", func(w *world) {
			w.link("eni1", "veth", abroad).route(p1 + "/32 eni1")
		}, []string{p1 + " eni1"}},
		{"ptp and kindnet: each veth bears the gateway's address", func(w *world) {
			w.link("veth1", "veth", abroad).addr("veth1", "10.1.1.1/32").route(p1+"/32 veth1").
				link("veth2", "veth", abroad).addr("veth2", "10.1.1.1/32").route(p2 + "/32 veth2")
		}, []string{p1 + " veth1", p2 + " veth2"}},
		{"Cilium with endpoint routes, netkit", func(w *world) {
			w.link("lxc1", "netkit", abroad).route(p1 + "/32 lxc1")
		}, []string{p1 + " lxc1"}},
		{"Cilium without endpoint routes: the peer is in the same namespace", func(w *world) {
			w.link("cilium_host", "veth").addr("cilium_host", "10.1.1.1/32").
				route("10.1.1.0/24 cilium_host via").route(p2 + "/32 cilium_host")
		}, nil},
		{"OVN: a gateway behind an Open vSwitch port", func(w *world) {
			w.link("ovn-k8s-mp0", "openvswitch").addr("ovn-k8s-mp0", "10.1.1.2/24").
				route("10.1.0.0/16 ovn-k8s-mp0 via").route("10.1.1.0/24 ovn-k8s-mp0")
		}, nil},
		{"AWS security groups for pods: no route in the main table", func(w *world) {
			w.link("vlan1", "veth", abroad).link("vlan.eth.1", "vlan")
		}, nil},
		{"macvlan and SR-IOV: by the uplink", func(w *world) { w.route("10.1.1.0/24 eth0") }, nil},
		{"a node in a container: the uplink is a veth", func(w *world) {
			w.link("eth1", "veth", abroad).addr("eth1", "198.51.100.2/24").route(p1+"/32 eth1").
				link("eth2", "veth", abroad).addr("eth2", "198.51.100.3/32").route("::/0 eth2 via").route(p2 + "/32 eth2")
		}, nil},
		{"a route by a gateway", func(w *world) {
			w.link("veth1", "veth", abroad).route(p1 + "/32 veth1 via")
		}, nil},
		{"a route that a router advertisement has made", func(w *world) {
			w.link("veth1", "veth", abroad).route(v6 + "/128 veth1 learned")
		}, nil},
		{"the better of two routes", func(w *world) {
			w.link("veth1", "veth", abroad).link("veth2", "veth", abroad).
				route(p1 + "/32 veth1 metric=100").route(p1 + "/32 veth2 metric=50")
		}, []string{p1 + " veth2"}},
		{"an address of the node's own", func(w *world) {
			w.link("veth1", "veth", abroad).addr("lo", p1+"/32").route(p1 + "/32 veth1")
		}, nil},
		{"a bridge, by the addresses in the pods' namespaces", func(w *world) {
			w.link("cni0", "bridge").addr("cni0", "10.1.1.1/24").route("10.1.1.0/24 cni0").
				link("veth1", "veth", w.port("cni0")).inside("veth1", p1, "fe80::1", v6).
				link("veth2", "veth", w.port("cni0")).inside("veth2", p2)
		}, []string{p1 + " cni0 veth1", p2 + " cni0 veth2"}},
		{"a bridge with a route to the address alone", func(w *world) {
			w.link("cni0", "bridge").route(v6+"/128 cni0").link("veth1", "veth", w.port("cni0")).inside("veth1", v6)
		}, []string{v6 + " cni0 veth1"}},
		{"a bridge, an address that two ports claim", func(w *world) {
			w.link("cni0", "bridge").route("10.1.1.0/24 cni0").
				link("veth1", "veth", w.port("cni0")).inside("veth1", p1).
				link("veth2", "veth", w.port("cni0")).inside("veth2", p1, p2).learned("cni0", "veth2", p1, 2)
		}, []string{p2 + " cni0 veth2"}},
		{"a bridge, by neighbours and forwarding database", func(w *world) {
			w.link("cni0", "bridge").route("10.1.1.0/24 cni0").
				link("veth1", "veth", w.port("cni0")).learned("cni0", "veth1", p1, 1)
		}, []string{p1 + " cni0 veth1"}},
		{"a bridge with the port of a virtual machine, too", func(w *world) {
			w.link("cni0", "bridge").route("10.1.1.0/24 cni0").
				link("veth1", "veth", w.port("cni0")).learned("cni0", "veth1", p1, 1).
				link("tap1", "tun", func(l *link) { l.master = w.index["cni0"] }).learned("cni0", "tap1", p2, 2)
		}, nil},
		{"a bridge with a dummy, too", func(w *world) {
			w.link("cni0", "bridge").route("10.1.1.0/24 cni0").
				link("veth1", "veth", w.port("cni0")).learned("cni0", "veth1", p1, 1).
				link("dummy1", "dummy", func(l *link) { l.master = w.index["cni0"] })
		}, []string{p1 + " cni0 veth1"}},
		{"a bridge with the default route", func(w *world) {
			w.listing.routes = nil
			w.link("br0", "bridge").route("10.1.1.0/24 br0").route("0.0.0.0/0 br0 via").link("veth1", "veth", w.port("br0")).learned("br0", "veth1", p1, 1)
		}, nil},
		{"a bridge, a neighbour without a station", func(w *world) {
			w.link("cni0", "bridge").route("10.1.1.0/24 cni0").link("veth1", "veth", w.port("cni0")).station("cni0", "veth1", 9)
			w.listing.neighbours = append(w.listing.neighbours, neighbour{w.index["cni0"], netip.MustParseAddr(p1), mac{2, 1}})
		}, nil},
		{"a bridge behind a gateway", func(w *world) {
			w.link("cni0", "bridge").route("10.1.1.0/24 cni0 via").link("veth1", "veth", w.port("cni0")).inside("veth1", p1)
		}, nil},
		{"the port of another bridge", func(w *world) {
			w.link("cni0", "bridge").link("br1", "bridge").route("10.1.1.0/24 cni0").
				link("veth1", "veth", w.port("br1")).inside("veth1", p1)
		}, nil},
		{"a route to a port", func(w *world) {
			w.link("cni0", "bridge").link("veth1", "veth", w.port("cni0")).route(p1 + "/32 veth1")
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := node(t)
			c.world(w)
			if got := show(w.read(&seats{}, podsOf(p1, p2, v6)))["pods"]; !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestSeatsStay holds what was found first against forgery.
func TestSeatsStay(t *testing.T) {
	const a = "10.1.1.10"
	bridged := func(forged bool) *world {
		w := node(t).link("cni0", "bridge").route("10.1.1.0/24 cni0")
		w.link("veth1", "veth", w.port("cni0")).link("veth2", "veth", w.port("cni0"))
		if forged {
			return w.learned("cni0", "veth2", a, 7)
		}
		return w.learned("cni0", "veth1", a, 1)
	}
	const first, second = a + " cni0 veth1", a + " cni0 veth2"
	for _, c := range []struct {
		name string
		then func(w *world) (*world, Pods)
		want []string
	}{
		{"the address is answered for from another port", func(*world) (*world, Pods) { return bridged(true), podsOf(a) }, []string{first}},
		{"the MAC address has moved", func(*world) (*world, Pods) {
			w := bridged(false)
			w.listing.stations[0].port = w.index["veth2"]
			return w, podsOf(a)
		}, []string{first}},
		{"another pod's namespace has the address", func(*world) (*world, Pods) { return bridged(false).inside("veth2", a), podsOf(a) }, []string{first}},
		{"neighbour and station have expired", func(w *world) (*world, Pods) {
			w.listing.neighbours, w.listing.stations = nil, nil
			return w, podsOf(a)
		}, []string{first}},
		{"the port is gone", func(*world) (*world, Pods) {
			w := bridged(true)
			w.listing.links = slices.DeleteFunc(w.listing.links, func(l link) bool { return l.name == "veth1" })
			return w, podsOf(a)
		}, []string{second}},
		{"another port has its number", func(*world) (*world, Pods) {
			w := bridged(true)
			w.listing.links[w.index["veth1"]-1].name = "veth9"
			return w, podsOf(a)
		}, []string{second}},
		{"it is another pod", func(*world) (*world, Pods) {
			return bridged(true), Pods{netip.MustParseAddr(a): {Kind: model.KindPod, Name: "other"}}
		}, []string{second}},
		{"the bridge gets a port that leads elsewhere", func(*world) (*world, Pods) {
			w := bridged(false)
			return w.link("eth1", "", func(l *link) { l.master = w.index["cni0"] }), podsOf(a)
		}, nil},
		{"it is no pod any more", func(w *world) (*world, Pods) { return w, nil }, nil},
		{"the route leads elsewhere", func(*world) (*world, Pods) { return bridged(false).route(a + "/32 eth0"), podsOf(a) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &seats{}
			w := bridged(false)
			if got := show(w.read(s, podsOf(a)))["pods"]; !slices.Equal(got, []string{first}) {
				t.Fatalf("first: %q", got)
			}
			w, pods := c.then(w)
			if got := show(w.read(s, pods))["pods"]; !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	w := node(t).link("cni0", "bridge").route("10.1.1.0/24 cni0").link("docker0", "bridge")
	w.link("veth1", "veth", w.port("cni0")).link("veth2", "veth", w.port("cni0")).link("veth3", "veth", w.port("docker0"))
	s := &seats{}
	names := func(pods Pods) (out []string) {
		for _, p := range s.wanted(newNetwork(&w.listing), pods) {
			out = append(out, p.name)
		}
		return out
	}
	if got := names(podsOf("10.9.9.9")); got != nil {
		t.Errorf("a pod elsewhere: %q", got)
	}
	pods := podsOf("10.1.1.10", "10.1.1.11")
	if got := names(pods); !slices.Equal(got, []string{"veth1", "veth2"}) {
		t.Errorf("two pods without a seat: %q", got)
	}
	if w.inside("veth1", "10.1.1.10"); !s.missing(newNetwork(&w.listing), pods) {
		t.Error("one is missing")
	}
	if w.inside("veth2", "10.1.1.11"); s.missing(newNetwork(&w.listing), pods) {
		t.Error("none is missing")
	}
	if got := names(pods); got != nil {
		t.Errorf("all have seats: %q", got)
	}
}

func TestAddrs(t *testing.T) {
	w := node(t).addr("lo", "::1/128", "203.0.113.80/32").addr("eth0", "192.0.2.1/32", "fe80::1/64").
		link("eth1", "").addr("eth1", "fe80::1/64").
		link("kube-ipvs0", "dummy").addr("kube-ipvs0", "10.96.0.1/32").
		route("10.96.0.1/32 kube-ipvs0 local").route("127.0.0.0/8 lo local").route("198.51.100.7/32 lo local").
		route("198.51.100.8/32 eth0 local").route("203.0.113.0/24 lo local")
	want := []string{
		"10.96.0.1 lo", "127.0.0.1 lo", "192.0.2.1 eth0", "198.51.100.7 lo", "198.51.100.8 eth0", "203.0.113.80 lo",
		"::1 lo", "fe80::1 eth0", "fe80::1 eth1",
	}
	if got := show(w.read(&seats{}, nil))["addrs"]; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		name   string
		routes []string
		want   []string
	}{
		{"flannel", []string{"10.244.1.0/24 vxlan0 via", "10.244.2.0/24 vxlan0 via"}, []string{"10.244.1.0/24 vxlan0", "10.244.2.0/24 vxlan0", "0.0.0.0/0 eth0"}},
		{"many blocks that go the default way", []string{"10.244.1.0/26 eth0 via", "10.244.1.64/26 eth0 via"}, []string{"0.0.0.0/0 eth0"}},
		{"a route back within another's block", []string{"10.0.0.0/8 vxlan0", "10.1.0.0/16 eth0", "10.1.1.0/24 vxlan0", "10.1.2.0/24 eth0"},
			[]string{"10.1.1.0/24 vxlan0", "10.1.0.0/16 eth0", "10.0.0.0/8 vxlan0", "0.0.0.0/0 eth0"}},
		{"two of a block", []string{"10.0.0.0/8 eth1 metric=5", "10.0.0.0/8 vxlan0 metric=1"}, []string{"10.0.0.0/8 vxlan0", "0.0.0.0/0 eth0"}},
		{"link-local blocks", []string{"fe80::/64 eth0", "fe80::/64 eth1", "169.254.0.0/16 eth1"}, []string{"169.254.0.0/16 eth1", "0.0.0.0/0 eth0"}},
		{"a pod's address", []string{"10.1.1.10/32 veth1", "10.1.1.11/32 veth1"}, []string{"10.1.1.11/32 veth1", "0.0.0.0/0 eth0"}},
		{"both families", []string{"::/0 eth1 via", "fd00::/64 eth1"}, []string{"0.0.0.0/0 eth0", "::/0 eth1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := node(t).link("eth1", "").link("vxlan0", "vxlan").link("veth1", "veth", abroad)
			for _, r := range c.routes {
				w.route(r)
			}
			if got := show(w.read(&seats{}, podsOf("10.1.1.10")))["routes"]; !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestWithoutNested compares with the whole table, address by address.
func TestWithoutNested(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var all []route
		for range r.IntN(12) {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}), 24+r.IntN(9)).Masked()
			all = append(all, route{net: p, index: 1 + r.IntN(3), priority: r.IntN(3)})
		}
		n := newNetwork(&listing{routes: all, links: []link{{index: 1, name: "a"}, {index: 2, name: "b"}, {index: 3, name: "c"}}})
		l := &model.Links{Routes: n.routes(func(netip.Prefix) bool { return false })}
		for i := range 256 {
			a, want := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), ""
			if x, ok := n.lookup(a); ok {
				want = n.byIndex[x.index].name
			}
			if got := l.RouteTo(a); got != want {
				t.Fatalf("%v: to %s by %q, want %q: %v", all, a, got, want, l.Routes)
			}
		}
		if !slices.IsSortedFunc(l.Routes, model.CompareRoutes) {
			t.Fatalf("not sorted: %v", l.Routes)
		}
	}
}

func TestTunnels(t *testing.T) {
	with := func(e encapsulation) func(*link) { return func(l *link) { l.encapsulation = e } }
	down := func(l *link) { l.up = false }
	w := node(t).
		link("flannel.1", "vxlan", with(encapsulation{port: 8472})).link("cilium_vxlan", "vxlan").
		link("genev_sys_6081", "geneve", with(encapsulation{port: 6081})).
		link("wireguard.cali", "wireguard", with(encapsulation{port: 51820})).link("wg1", "wireguard").
		link("tunl0", "ipip", with(encapsulation{inner: 4})).link("ipip-fou", "ipip", with(encapsulation{inner: 4, within: 1, withinPort: 5555})).
		link("sit1", "sit", with(encapsulation{inner: 41})).link("sit0", "sit", down).
		link("ip6any", "ip6tnl").link("gre1", "gre").link("gretap1", "gretap").link("gre6", "ip6gre").
		link("gue1", "gre", with(encapsulation{within: 2, withinPort: 6080})).
		link("vlan7", "vlan").link("tun0", "tun")
	want := []string{
		"cilium_vxlan UDP 8472", "flannel.1 UDP 8472", "genev_sys_6081 UDP 6081", "gre1 47 0", "gre6 47 0", "gretap1 47 0",
		"gue1 UDP 6080", "ip6any 4 0", "ip6any 41 0", "ipip-fou UDP 5555", "sit1 41 0", "tunl0 4 0", "wg1 UDP 0", "wireguard.cali UDP 51820",
	}
	if got := show(w.read(&seats{}, nil))["tunnels"]; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDeterminism shuffles a listing: the Links are the same.
func TestDeterminism(t *testing.T) {
	w := node(t).link("cni0", "bridge").addr("cni0", "10.1.1.1/24", "fd00::1/64").route("10.1.1.0/24 cni0").route("fd00::/64 cni0")
	pods := Pods{}
	for i := range 20 {
		name := fmt.Sprintf("veth%d", i)
		a := netip.AddrFrom4([4]byte{10, 1, 1, byte(10 + i)})
		w.link(name, "veth", w.port("cni0")).inside(name, a.String())
		pods[a] = model.Ref{Kind: model.KindPod, Name: name}
	}
	w.link("t1", "vxlan").link("t2", "vxlan").route("10.1.2.0/24 t1").route("10.1.3.0/24 t2")
	want := w.read(&seats{}, pods)
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		r.Shuffle(len(w.listing.links), func(i, j int) { w.listing.links[i], w.listing.links[j] = w.listing.links[j], w.listing.links[i] })
		r.Shuffle(len(w.listing.routes), func(i, j int) {
			w.listing.routes[i], w.listing.routes[j] = w.listing.routes[j], w.listing.routes[i]
		})
		r.Shuffle(len(w.listing.inside), func(i, j int) {
			w.listing.inside[i], w.listing.inside[j] = w.listing.inside[j], w.listing.inside[i]
		})
		if got := w.read(&seats{}, pods); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", show(got), show(want))
		}
	}
}
