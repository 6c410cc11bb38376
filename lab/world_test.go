//go:build linux

package lab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/model"
)

var _ = Describe("Spec", func() {
	DescribeTable("is refused if it cannot be built", func(change func(*Spec), want string) {
		s := world(Routed)
		change(&s)
		_, err := New(context.Background(), s)
		Expect(err).To(MatchError(ContainSubstring(want)))
	},
		Entry("two nodes of a name", func(s *Spec) { s.Nodes[1].Name = "n1" }, `node "n1": the name is empty or taken`),
		Entry("a pod and a pod of a name", func(s *Spec) { s.Pods[1].Name = "web" }, `pod "a/web": the name is empty or taken`),
		Entry("a host with a node's name", func(s *Spec) { s.Outside[0].Name = "n1" }, `host "n1": the name is empty or taken`),
		Entry("a node with a slash", func(s *Spec) { s.Nodes[0].Name = "n/1" }, `node "n/1": a name without /`),
		Entry("an address twice", func(s *Spec) { s.Pods[1].Addrs = s.Pods[0].Addrs[:1] }, "pod a/db: the address 10.1.1.10 is also that of pod a/web"),
		Entry("a loopback address", func(s *Spec) { s.Nodes[0].Addrs = addrs("127.0.0.1") }, "node n1: address 127.0.0.1 cannot be given"),
		Entry("a mapped address", func(s *Spec) { s.Pods[0].Addrs = []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")} }, "is no plain IPv4 or IPv6 address"),
		Entry("a pod without an address", func(s *Spec) { s.Pods[0].Addrs = nil }, "pod a/web: an address is needed"),
		Entry("a pod on no node", func(s *Spec) { s.Pods[0].Node = "n9" }, `pod a/web: there is no node "n9"`),
		Entry("a host-network pod with an address", func(s *Spec) { s.Pods[0].HostNetwork = true }, "pod a/web: a host-network pod has the addresses of its node"),
		Entry("an interface twice", func(s *Spec) { s.Nodes[1].Links[0].Name = "eth0" }, `node n2: "eth0" is no name for a further interface`),
		Entry("an invalid block", func(s *Spec) { s.Nodes[0].PodCIDRs = []netip.Prefix{{}} }, "node n1: pod block invalid Prefix is invalid"),
	)

	It("is not built after the context has ended", func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := New(ctx, world(Routed))
		Expect(err).To(MatchError(context.Canceled))
	})
})

var _ = Describe("Lab", func() {
	It("runs functions and commands inside a namespace", func() {
		l := bring(world(Routed))
		for where, want := range map[string]string{"n1": "192.0.2.1", "a/web": "10.1.1.10", "b/host": "192.0.2.2", "out": "203.0.113.9"} {
			Expect(l.Do(where, func() error {
				all, err := net.InterfaceAddrs()
				Expect(all).To(ContainElement(HaveField("String()", HavePrefix(want+"/"))))
				return err
			})).To(Succeed())
			out, err := l.Command(where, "cat", "/proc/self/net/fib_trie").Output()
			Expect(err).NotTo(HaveOccurred())
			Expect(string(out)).To(ContainSubstring(want))

			inside, err := l.Command(where, "readlink", "/proc/self/ns/net").Output()
			Expect(err).NotTo(HaveOccurred())
			path, err := l.Path(where)
			Expect(err).NotTo(HaveOccurred())
			Expect(os.Readlink(path)).To(Equal(strings.TrimSpace(string(inside))))
		}
		here, err := os.Readlink("/proc/self/ns/net")
		Expect(err).NotTo(HaveOccurred())
		Expect(l.Do("n1", func() error {
			there, err := os.Readlink("/proc/thread-self/ns/net")
			Expect(there).NotTo(Equal(here))
			return err
		})).To(Succeed())
		Expect(os.Readlink("/proc/thread-self/ns/net")).To(Equal(here))

		Expect(l.Do("nobody", func() error { return nil })).To(MatchError(ContainSubstring(`"nobody"`)))
		Expect(l.Command("nobody", "true").Run()).To(MatchError(ContainSubstring(`"nobody"`)))
		_, err = l.Command("n1", "sh", "-c", "echo wrong >&2; exit 3").Output()
		Expect(err).To(MatchError(ContainSubstring("exit status 3: wrong")))
		_, err = l.Netns("nobody")
		Expect(err).To(HaveOccurred())
		nodes, hosts, pods := l.Wheres()
		Expect(nodes).To(Equal([]string{"n1", "n2"}))
		Expect(hosts).To(Equal([]string{Internet, "out"}))
		Expect(pods).To(Equal([]string{"a/db", "a/web", "b/host", "b/odd", "b/web"}))
	})

	It("has real sockets on both ends", func() {
		l := bring(world(Bridge))
		var server net.Listener
		Expect(l.Do("a/web", func() (err error) {
			server, err = net.Listen("tcp", "[fd00:1:1::10]:80")
			return err
		})).To(Succeed())
		defer closeQuietly(server)
		go func() {
			c, err := server.Accept()
			if err == nil {
				_, _ = io.Copy(c, c)
				closeQuietly(c)
			}
		}()
		Expect(l.Do("b/web", func() error {
			c, err := net.Dial("tcp", "[fd00:1:1::10]:80")
			if err != nil {
				return err
			}
			defer closeQuietly(c)
			if _, err := c.Write([]byte("hello")); err != nil {
				return err
			}
			var buf [5]byte
			_, err = io.ReadFull(c, buf[:])
			Expect(string(buf[:])).To(Equal("hello"))
			return err
		})).To(Succeed())
		// A probe to a port where somebody listens is answered by that one.
		Expect(try(l, flow(model.TCP, "10.1.2.10", "10.1.1.10", 80))).To(beDelivered)
		Expect(try(l, flow(model.TCP, "fd00:1:2::10", "fd00:1:1::10", 80))).To(beDelivered)
	})

	for name, network := range map[string]Network{"routed": Routed, "bridged": Bridge} {
		It("lets pods come, go and change addresses, "+name, func() {
			l := bring(world(network))
			Expect(try(l, flow(model.TCP, "10.1.2.10", "10.1.1.50", 80)).At).To(Equal("(unknown)/10.1.1.50"))
			Expect(try(l, flow(model.TCP, "10.1.2.10", "198.51.100.50", 80)).At).To(Equal(Internet))
			// A pod takes over addresses that were taken on for probes.
			late := Pod{Namespace: "c", Name: "late", Node: "n1", Addrs: addrs("10.1.1.50", "198.51.100.50", "fd00:1:1::50")}
			Expect(l.AddPod(late)).To(Succeed())
			for _, a := range late.Addrs {
				src := "10.1.2.10"
				if a.Is6() {
					src = "fd00:1:2::10"
				}
				Expect(try(l, flow(model.UDP, src, a.String(), 80))).To(And(beDelivered, HaveField("At", "c/late")))
				Expect(try(l, flow(model.SCTP, a.String(), src, 80))).To(beDelivered)
			}
			Expect(l.AddPod(late)).NotTo(Succeed())
			Expect(l.AddPod(Pod{Namespace: "c", Name: "thief", Node: "n2", Addrs: addrs("10.1.1.50")})).To(MatchError(ContainSubstring("the address 10.1.1.50 is that of c/late")))
			Expect(l.AddPod(Pod{Namespace: "c", Name: "lost", Node: "n9", Addrs: addrs("10.1.1.51")})).NotTo(Succeed())

			Expect(l.SetPodAddrs("c/late", addrs("10.1.1.60", "fd00:1:1::50"))).To(Succeed())
			Expect(l.PodAddrs("c/late")).To(Equal(addrs("10.1.1.60", "fd00:1:1::50")))
			Expect(try(l, flow(model.TCP, "10.1.2.10", "10.1.1.60", 80)).At).To(Equal("c/late"))
			Expect(try(l, flow(model.TCP, "10.1.1.60", "203.0.113.9", 80))).To(beDelivered)
			Expect(try(l, flow(model.TCP, "fd00:1:2::10", "fd00:1:1::50", 80)).At).To(Equal("c/late"))
			Expect(try(l, flow(model.TCP, "10.1.2.10", "10.1.1.50", 80)).At).To(Equal("(unknown)/10.1.1.50"))
			Expect(l.SetPodAddrs("c/late", addrs("10.1.1.10"))).To(MatchError(ContainSubstring("the address 10.1.1.10 is that of a/web")))

			// The first address goes, the second stays.
			Expect(l.SetPodAddrs("c/late", addrs("10.1.1.60", "10.1.1.61"))).To(Succeed())
			Expect(l.SetPodAddrs("c/late", addrs("10.1.1.61"))).To(Succeed())
			Expect(try(l, flow(model.TCP, "10.1.1.61", "203.0.113.9", 80))).To(beDelivered)
			Expect(try(l, flow(model.TCP, "10.1.1.61", "10.1.1.11", 80))).To(beDelivered)
			Expect(l.RemovePod("c/late")).To(Succeed())
			Expect(l.RemovePod("c/late")).NotTo(Succeed())
			_, ok := l.Owner(addr("10.1.1.61"))
			Expect(ok).To(BeFalse())
			// The same name and addresses on another node.
			late.Node, late.Addrs = "n2", addrs("10.1.1.60")
			Expect(l.AddPod(late)).To(Succeed())
			Expect(try(l, flow(model.TCP, "10.1.2.10", "10.1.1.60", 80)).At).To(Equal("c/late"))
			Expect(try(l, flow(model.TCP, "203.0.113.9", "10.1.1.60", 80)).At).To(Equal("c/late"))

			Expect(l.AddPod(Pod{Namespace: "c", Name: "host", Node: "n1", HostNetwork: true})).To(Succeed())
			Expect(l.PodAddrs("c/host")).To(Equal(addrs("192.0.2.1", "2001:db8::1")))
			Expect(l.RemovePod("c/host")).To(Succeed())
			Expect(try(l, flow(model.TCP, "203.0.113.9", "192.0.2.1", 80)).At).To(Equal("n1"))

			Expect(l.AddHost(Host{Name: "peer", Addrs: addrs("198.51.100.99")})).To(Succeed())
			Expect(l.AddHost(Host{Name: "n1"})).NotTo(Succeed())
			Expect(try(l, flow(model.TCP, "198.51.100.99", "10.1.1.10", 80))).To(beDelivered)
		})
	}

	It("translates services on every node", func() {
		for _, network := range []Network{Routed, Bridge} {
			l := bring(world(network))
			Expect(l.SetServices(
				Service{Addr: addrPort("10.96.0.10:80"), Protocol: model.TCP, Backends: []netip.AddrPort{addrPort("10.1.1.11:8080"), addrPort("10.1.2.10:8081")}},
				Service{Addr: addrPort("10.96.0.10:53"), Protocol: model.UDP, Backends: []netip.AddrPort{addrPort("10.1.1.11:5353")}, Masquerade: true},
				Service{Addr: addrPort("[fd00:96::10]:80"), Protocol: model.TCP, Backends: []netip.AddrPort{addrPort("[fd00:1:1::11]:8080"), addrPort("[fd00:1:2::10]:8080")}},
				Service{Addr: addrPort("192.0.2.1:30080"), Protocol: model.SCTP, Backends: []netip.AddrPort{addrPort("10.1.2.10:99")}, Masquerade: true},
				Service{Addr: addrPort("198.51.100.1:443"), Protocol: model.TCP, Backends: []netip.AddrPort{addrPort("10.1.1.10:8443")}, Via: "n2", Masquerade: true},
			)).To(Succeed())
			seen := map[string]bool{}
			for range 64 {
				for _, src := range []string{"10.1.1.10", "192.0.2.2"} {
					r := try(l, flow(model.TCP, src, "10.96.0.10", 80))
					Expect(r).To(beDelivered)
					seen[r.To.String()] = true
				}
				r := try(l, flow(model.TCP, "fd00:1:1::10", "fd00:96::10", 80))
				Expect(r).To(beDelivered)
				seen[r.To.String()] = true
			}
			Expect(seen).To(HaveLen(4))

			r := try(l, flow(model.UDP, "10.1.2.10", "10.96.0.10", 53))
			Expect(r).To(And(beDelivered, HaveField("At", "a/db"), HaveField("To", addrPort("10.1.1.11:5353"))))
			Expect(r.From.Addr()).NotTo(Equal(addr("10.1.2.10")), "masqueraded")
			// A pod that is its own backend.
			Expect(try(l, flow(model.UDP, "10.1.1.11", "10.96.0.10", 53))).To(And(beDelivered, HaveField("At", "a/db")))
			// A node port, and an address that a node takes in from outside.
			Expect(try(l, flow(model.SCTP, "203.0.113.9", "192.0.2.1", 30080))).To(And(beDelivered, HaveField("At", "b/web")))
			Expect(try(l, flow(model.TCP, "203.0.113.9", "198.51.100.1", 443))).To(And(beDelivered, HaveField("At", "a/web")))
			// Nothing is translated at another port or after the services are gone.
			Expect(try(l, flow(model.TCP, "203.0.113.9", "192.0.2.1", 30081))).To(HaveField("At", "n1"))
			Expect(l.SetServices()).To(Succeed())
			Expect(tryWith(l, flow(model.TCP, "10.1.1.10", "10.96.0.10", 80), Options{At: []netip.AddrPort{addrPort("10.1.1.11:8080")}})).To(beDropped)
			Expect(l.SetServices(Service{Addr: addrPort("10.96.0.10:80"), Protocol: gre})).NotTo(Succeed())
		}
	})

	It("finds packets that others translate", func() {
		l := bring(world(Routed))
		nft(l, "n1", `table ip t {
			chain pre { type nat hook prerouting priority -100; ip daddr 10.96.0.1 tcp dport 443 dnat to 10.1.1.11:6443; }
		}`)
		r := tryWith(l, flow(model.TCP, "10.1.1.10", "10.96.0.1", 443), Options{At: []netip.AddrPort{addrPort("10.1.1.11:6443")}})
		Expect(r).To(And(beDelivered, HaveField("At", "a/db"), HaveField("To", addrPort("10.1.1.11:6443"))))
	})
})
