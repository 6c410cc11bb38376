//go:build linux

package lab

import (
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/model"
)

var _ = Describe("Forged packets", func() {
	linkLocal := func(l *Lab, where, iface string) string {
		GinkgoHelper()
		a, err := l.LinkLocal(where, iface)
		Expect(err).NotTo(HaveOccurred())
		return a.String()
	}

	It("reach link-local, multicast and broadcast addresses on a bridge", func() {
		l := bring(world(Bridge))
		for _, group := range []string{"224.0.0.251", "239.1.2.3", "ff02::fb"} {
			Expect(l.Join("a/db", "eth0", addr(group))).To(Succeed())
		}
		o := Options{From: "a/web", Interface: "eth0", To: []string{"a/db"}}
		web6, db6 := linkLocal(l, "a/web", "eth0"), linkLocal(l, "a/db", "eth0")
		for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP, 253} {
			Expect(tryWith(l, flow(p, web6, db6, 80), o)).To(HaveField("At", "a/db"), p.String())
		}
		Expect(tryWith(l, ping(web6, db6), o)).To(HaveField("At", "a/db"))
		for _, to := range []string{"224.0.0.251", "239.1.2.3", "255.255.255.255", "10.1.1.255"} {
			Expect(tryWith(l, flow(model.UDP, "10.1.1.10", to, 5353), o)).To(HaveField("At", "a/db"), to)
		}
		for _, to := range []string{"ff02::1", "ff02::fb"} {
			Expect(tryWith(l, flow(model.UDP, web6, to, 5353), o)).To(HaveField("At", "a/db"), to)
		}
		// Nobody is a member here.
		Expect(tryWith(l, flow(model.UDP, "10.1.1.10", "224.0.0.99", 5353), o)).To(HaveField("Delivered", false))
		// The node's end of it, and a source that nobody has.
		o.To = []string{"n1"}
		Expect(tryWith(l, flow(model.UDP, web6, linkLocal(l, "n1", "cni0"), 80), o)).To(HaveField("At", "n1"))
		Expect(tryWith(l, flow(model.UDP, "198.18.0.77", "10.1.1.1", 80), Options{From: "a/web", To: []string{"n1"}})).To(HaveField("At", "n1"))
		o.Frame = Broadcast
		Expect(tryWith(l, flow(model.UDP, "0.0.0.0", "255.255.255.255", 67), o)).To(HaveField("At", "n1"))
	})

	It("are frames to whom their addresses do not say, tagged ones, and packets with extension headers", func() {
		l := bring(world(Bridge))
		db, err := l.LinkAddr("a/db", "eth0")
		Expect(err).NotTo(HaveOccurred())
		Expect(l.Join("a/db", "eth0", addr("224.0.0.251"))).To(Succeed())
		for _, tagged := range []bool{false, true} {
			o := Options{From: "a/web", Interface: "eth0", To: []string{"a/db"}, Frame: db, Tagged: tagged}
			for _, f := range []model.Flow{flow(model.UDP, "10.1.1.10", "10.1.1.11", 80), flow(model.TCP, "fd00:1:1::10", "fd00:1:1::11", 80), flow(model.UDP, "10.1.1.10", "224.0.0.251", 5353), flow(model.UDP, linkLocal(l, "a/web", "eth0"), linkLocal(l, "a/db", "eth0"), 80)} {
				Expect(tryWith(l, f, o)).To(HaveField("At", "a/db"), describe(f))
			}
		}
		for _, f := range []model.Flow{flow(model.TCP, "fd00:1:1::10", "fd00:1:2::10", 80), flow(model.UDP, "fd00:1:1::10", "2001:db8::1", 80), ping("fd00:1:1::10", "fd00:1:1::11")} {
			Expect(tryWith(l, f, Options{Extension: true})).To(HaveField("Delivered", true), describe(f))
		}
		f := model.Flow{Src: addr(linkLocal(l, "a/web", "eth0")), Dst: addr("ff02::1"), Protocol: model.ICMPv6, ICMPType: 134}
		Expect(tryWith(l, f, Options{From: "a/web", Interface: "eth0", To: []string{"a/db"}, Extension: true})).To(HaveField("At", "a/db"))
	})

	It("are messages of neighbour discovery that receivers heed", func() {
		l := bring(world(Routed))
		port, err := l.PodInterface("a/web")
		Expect(err).NotTo(HaveOccurred())
		web6 := linkLocal(l, "a/web", "eth0")
		Expect(l.Command("n1", "sh", "-c", "echo 2 >/proc/sys/net/ipv6/conf/"+port+"/accept_ra").Run()).To(Succeed())
		for _, typ := range []uint8{133, 135, 136, 137, 134} {
			f := model.Flow{Src: addr(web6), Dst: addr("ff02::1"), Protocol: model.ICMPv6, ICMPType: typ}
			Expect(tryWith(l, f, Options{From: "a/web", Interface: "eth0", To: []string{"n1"}})).To(HaveField("At", "n1"))
		}
		Eventually(func() (string, error) {
			out, err := l.Command("n1", "ip", "-6", "route", "show", "default", "proto", "ra").Output()
			return string(out), err
		}).Should(ContainSubstring("via " + web6 + " dev " + port))
	})

	It("come from a node's neighbour on the wire", func() {
		l := bring(world(Bridge))
		from, err := l.WireInterface("n1")
		Expect(err).NotTo(HaveOccurred())
		o := Options{From: Wire, Interface: from, To: []string{"n1"}}
		Expect(tryWith(l, flow(model.UDP, linkLocal(l, Wire, from), linkLocal(l, "n1", "eth0"), 99), o)).To(HaveField("At", "n1"))
		Expect(tryWith(l, flow(model.UDP, "198.51.100.4", "255.255.255.255", 99), o)).To(HaveField("At", "n1"))
	})

	It("go on with connections and associations", func() {
		l := bring(world(Routed))
		nft(l, "n1", "table inet t { chain c { type filter hook forward priority 0\n ct state invalid tcp flags & (syn|ack) == syn|ack accept\n ct state new sctp chunk init exists accept\n ct state established accept\n counter drop; }; }")
		f := flow(model.TCP, "10.1.1.10", "10.1.2.10", 80)
		Expect(tryWith(l, f, Options{Flags: SYN | ACK})).To(HaveField("Delivered", true))
		f.SrcPort = 4444
		// Connection tracking follows an association: what does not belong to it is new.
		there := model.Flow{Src: addr("10.1.1.10"), Dst: addr("10.1.2.10"), Protocol: model.SCTP, SrcPort: 5000, DstPort: 6000}
		back := model.Flow{Src: there.Dst, Dst: there.Src, Protocol: model.SCTP, SrcPort: 6000, DstPort: 5000}
		send := func(f model.Flow, c Chunk, arrives bool) {
			GinkgoHelper()
			Expect(tryWith(l, f, Options{Chunk: &c, KeepConnection: true})).To(HaveField("Delivered", arrives), "%+v", c)
		}
		send(back, Chunk{Type: ChunkHeartbeat, Tag: 7}, false)
		send(there, Chunk{Type: ChunkInit, Initiate: 7}, true)
		send(back, Chunk{Type: ChunkInitAck, Tag: 7, Initiate: 8}, true)
		send(there, Chunk{Type: ChunkCookieEcho, Tag: 8}, true)
		send(back, Chunk{Type: ChunkCookieAck, Tag: 7}, true)
		send(back, Chunk{Type: ChunkHeartbeat, Tag: 7}, true)
		send(there, Chunk{Type: ChunkHeartbeatAck, Tag: 8}, true)
	})

	It("are delivered from inside of a tunnel's datagram", func() {
		for _, o := range []Overlay{{}, {Port: 8472, IPv6: true}} {
			l := bring(world(Routed))
			Expect(l.AddOverlay(o)).To(Succeed())
			src := addr("10.1.1.11")
			if o.IPv6 {
				src = addr("fd00:1:1::11")
			}
			inner := flow(model.TCP, "10.1.1.10", "10.1.2.10", 80)
			Expect(tryWith(l, inner, Options{From: "a/db", Inside: &Envelope{Src: src, Node: "n2"}})).To(HaveField("At", "b/web"))
			inner = flow(model.UDP, "fd00:1:1::10", "fd00:1:2::10", 80)
			Expect(tryWith(l, inner, Options{From: "a/db", Inside: &Envelope{Src: src, Node: "n2"}})).To(HaveField("At", "b/web"))
		}
	})
})

var _ = Describe("Networks for attacks", func() {
	for name, network := range map[string]Network{"routed": Routed, "bridged": Bridge} {
		It("have an overlay, whose packets the wire sees from outside only, "+name, func() {
			l := bring(world(network))
			Expect(l.AddOverlay(Overlay{Addrs: map[string][]netip.Addr{"n2": addrs("10.1.1.200", "fd00:1:1::200")}})).To(Succeed())
			nft(l, "n1", "table inet t { chain c { type filter hook prerouting priority -300\n iifname eth0 ip daddr 10.1.1.0/24 drop; }; }")
			for _, f := range allProtocols(addr("10.1.2.10"), addr("10.1.1.10")) {
				Expect(try(l, f)).To(beDelivered)
			}
			for _, f := range allProtocols(addr("fd00:1:1::10"), addr("fd00:1:2::10")) {
				Expect(try(l, f)).To(beDelivered)
			}
			// On a bridge the pod looks for the one that asks on its own link, in vain.
			Expect(try(l, flow(model.TCP, "10.1.1.200", "10.1.1.10", 80))).To(And(HaveField("Delivered", true), HaveField("Answered", network == Routed)))
			Expect(try(l, flow(model.TCP, "2001:db8::1", "fd00:1:1::200", 80))).To(And(beDelivered, HaveField("At", "n2")))
			Expect(try(l, flow(model.TCP, "203.0.113.9", "10.1.1.10", 80))).To(beDropped)
			Expect(l.AddOverlay(Overlay{})).To(MatchError(ContainSubstring("already")))
		})

		It("have nodes with addresses that nobody lists, and hosts behind a node, "+name, func() {
			s := world(network)
			s.Outside = append(s.Outside, Host{Name: "far", Addrs: addrs("198.51.100.20", "2001:db8:20::1"), Behind: "n1", Link: "eth1"})
			l := bring(s)
			Expect(l.AddNodeAddr("n1", "eth0", netip.MustParsePrefix("198.51.100.50/32"))).To(Succeed())
			Expect(l.AddNodeAddr("n1", "docker0", netip.MustParsePrefix("172.17.0.1/16"))).To(Succeed())
			Expect(l.AddNodeAddr("n1", "docker0", netip.MustParsePrefix("fd00:17::1/64"))).To(Succeed())
			Expect(l.AddNodeAddr("n1", "lo", netip.MustParsePrefix("169.254.20.10/32"))).To(Succeed())
			for _, to := range []string{"198.51.100.50", "172.17.0.1"} {
				Expect(try(l, flow(model.TCP, "203.0.113.9", to, 80))).To(And(beDelivered, HaveField("At", "n1")))
				Expect(try(l, flow(model.TCP, to, "203.0.113.9", 80))).To(beDelivered)
			}
			Expect(try(l, flow(model.TCP, "2001:db8:ffff::9", "fd00:17::1", 80))).To(And(beDelivered, HaveField("At", "n1")))
			Expect(try(l, flow(model.UDP, "10.1.1.10", "169.254.20.10", 53))).To(And(beDelivered, HaveField("At", "n1")))
			nft(l, "n1", "table inet t { chain c { type filter hook forward priority 0\n oifname eth1 tcp dport 81 drop; }; }")
			for _, way := range [][2]string{{"203.0.113.9", "198.51.100.20"}, {"2001:db8:20::1", "2001:db8:ffff::9"}, {"10.1.2.10", "198.51.100.20"}, {"198.51.100.20", "10.1.1.10"}} {
				Expect(try(l, flow(model.TCP, way[0], way[1], 80))).To(beDelivered)
			}
			Expect(try(l, flow(model.TCP, "203.0.113.9", "198.51.100.20", 81))).To(beDropped)
		})
	}
})
