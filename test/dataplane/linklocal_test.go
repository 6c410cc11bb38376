package dataplane

import (
	"fmt"
	"net"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// Groups that members of the field join.
var groups = []string{"224.0.0.251", "239.1.2.3", "ff02::fb", "ff05::2"}

// gather has pods and n1 take packets to groups.
func gather(c *cluster, g ground) {
	GinkgoHelper()
	joined := map[string]bool{}
	for _, name := range []string{"muted", "sealed", "free", "loose"} {
		c.join(where(name), "eth0", groups...)
		if iface := c.towards(g, name); !joined[iface] {
			c.join("n1", iface, append(groups[:len(groups):len(groups)], "ff02::1:2")...)
			joined[iface] = true
		}
	}
}

// unlisted are packets of a pod, with addresses that no object lists, to a
// receiver on its link that has a link-local address.
func unlisted(from, addr4, link6, to, to6 string) []try {
	return onLink(from, to,
		tcp(link6, to6, webPort), udp(link6, to6, mdnsPort), ping(link6, to6), model.Flow{Src: addr(link6), Dst: addr(to6), Protocol: model.SCTP, DstPort: 99},
		udp(link6, "ff02::1", mdnsPort), ping(link6, "ff02::1"), udp(link6, "ff02::fb", mdnsPort), udp(link6, "ff05::2", mdnsPort),
		udp(addr4, "224.0.0.251", mdnsPort), udp(addr4, "239.1.2.3", 9999), udp(addr4, "255.255.255.255", 9999), ping(addr4, "224.0.0.251"),
		udp("0.0.0.0", "255.255.255.255", 9999),
	)
}

// onlyOn lists what only a bridge carries.
func onlyOn(g ground, network lab.Network, tries ...[]try) (out []try) {
	for _, t := range tries {
		if g.network == network {
			out = append(out, t...)
		}
	}
	return out
}

var _ = onEach("Addresses that the API does not list", func(p *plane) {
	item := Label("issue11-1")

	onBoth("are judged where a pod may send nothing", item, func(g ground) {
		c := g.raise(p, field())
		gather(c, g)
		link, gate := c.linkLocal(where("muted"), "eth0"), c.linkLocal("n1", c.towards(g, "muted"))
		tries := unlisted("muted", muted, link, "n1", gate)
		tries = append(tries, onLink("muted", "n1", udp("169.254.7.7", node1, 9999), udp("169.254.7.7", "224.0.0.251", mdnsPort), udp(stranger, "255.255.255.255", 9999))...)
		// By routes: to the node's other addresses, to other nodes' pods, to outside.
		tries = append(tries, forged(where("muted"), tcp("169.254.7.7", node1, webPort), udp("169.254.7.7", far, dnsPort), tcp("169.254.7.7", outside, webPort), tcp(link, node1v6, webPort))...)
		tries = append(tries, onlyOn(g, lab.Bridge,
			unlisted("muted", muted, link, where("free"), c.linkLocal(where("free"), "eth0")),
			unlisted("muted", muted, link, where("sealed"), c.linkLocal(where("sealed"), "eth0")),
			onLink("muted", where("free"), udp(muted, "10.1.1.255", 9999), udp("169.254.7.7", free, 9999)))...)
		c.closes(tries...)
	})

	onBoth("are judged where pods may not reach their node", item, func(g ground) {
		c := g.raise(p, field()+toHost("Drop"))
		gather(c, g)
		link, gate := c.linkLocal(where("free"), "eth0"), c.linkLocal("n1", c.towards(g, "free"))
		tries := unlisted("free", free, link, "n1", gate)
		tries = append(tries, forged(where("free"), tcp("169.254.7.7", node1, webPort), tcp(link, node1v6, webPort))...)
		c.closes(tries...)
	})

	It("are judged where a pod takes nothing, bridged", item, func() {
		g := ground{network: lab.Bridge}
		c := g.raise(p, field())
		gather(c, g)
		link := c.linkLocal(where("free"), "eth0")
		tries := unlisted("free", free, link, where("sealed"), c.linkLocal(where("sealed"), "eth0"))
		tries = append(tries, onLink("free", where("sealed"), udp(free, "10.1.1.255", 9999), udp("169.254.7.7", sealed, 9999), udp(stranger, sealed, 9999))...)
		c.closes(tries...)
	})

	// A frame with a tag of VLAN 0 is to its receiver as good as one without, and
	// br_netfilter does not see IP in it: from ports of pods none passes. (By iptables
	// that takes the sysctl bridge-nf-filter-vlan-tagged: dataplane/iptables/README.md.)
	// One to a pod's link address is the pod's whatever it carries.
	ways := []bool{false}
	if p == byNFTables {
		ways = append(ways, true)
	}
	for _, tagged := range ways {
		It(fmt.Sprintf("are judged in frames to link addresses, tagged %t, bridged", tagged), item, func() {
			g := ground{network: lab.Bridge}
			c := g.raise(p, field()+toHost("Drop"))
			gather(c, g)
			to := func(from, to string, flows ...model.Flow) []try {
				GinkgoHelper()
				iface := "eth0"
				if to == "n1" {
					iface = "cni0"
				}
				mac, err := c.lab.LinkAddr(to, iface)
				Expect(err).NotTo(HaveOccurred())
				tries := onLink(from, to, flows...)
				for i := range tries {
					tries[i].o.Frame, tries[i].o.Tagged = mac, tagged
				}
				return tries
			}
			link := map[string]string{}
			for _, name := range []string{"muted", "sealed", "free"} {
				link[name] = c.linkLocal(where(name), "eth0")
			}
			gate := c.linkLocal("n1", "cni0")
			tries := to("free", where("sealed"), tcp(free, sealed, webPort), udp(free6, sealed6, dnsPort), tcp(link["free"], link["sealed"], webPort), udp(free, "224.0.0.251", mdnsPort), udp(free, "255.255.255.255", 9999), udp(link["free"], "ff02::1", mdnsPort))
			tries = append(tries, to("muted", where("free"), tcp(muted, free, webPort), udp(muted6, free6, dnsPort), tcp(link["muted"], link["free"], webPort), udp(muted, "224.0.0.251", mdnsPort), udp(link["muted"], "ff02::1", mdnsPort))...)
			tries = append(tries, to("muted", "n1", tcp(muted, node1, webPort), udp(muted6, node1v6, dnsPort), tcp(link["muted"], gate, webPort), udp(muted, "224.0.0.251", mdnsPort))...)
			tries = append(tries, to("free", "n1", tcp(free, node1, webPort), tcp(free6, node1v6, webPort), tcp(link["free"], gate, webPort))...)
			for _, t := range to("muted", "n1", tcp(muted, far, webPort), udp(muted6, far6, dnsPort), tcp(muted, outside, webPort)) {
				t.o.To = []string{where("far"), "outside"}
				tries = append(tries, t)
			}
			// As a friend.
			tries = append(tries, to("free", where("inner"), tcp(friend, inner, webPort), udp(friend6, inner6, dnsPort))...)
			c.closes(tries...)
			allowed := append(to("friend", where("inner"), tcp(friend, inner, webPort), udp(friend6, inner6, dnsPort)),
				to("free", where("loose"), tcp(free, loose, webPort), udp(free6, loose6, dnsPort), udp(free, "224.0.0.251", mdnsPort))...)
			if tagged {
				c.stops(allowed...)
			} else {
				c.passes(allowed...)
			}
		})
	}

	onBoth("are judged behind extension headers", Label("issue11-1", "issue11-6"), func(g ground) {
		c := g.raise(p, field())
		gather(c, g)
		link, gate := c.linkLocal(where("muted"), "eth0"), c.linkLocal("n1", c.towards(g, "muted"))
		tries := onLink("muted", "n1", tcp(link, gate, webPort), udp(link, "ff02::1", mdnsPort), discovery(router, link, "ff02::1"), discovery(redirect, link, gate))
		tries = append(tries, onlyOn(g, lab.Bridge, onLink("muted", where("free"), tcp(link, c.linkLocal(where("free"), "eth0"), webPort), discovery(router, link, "ff02::1")))...)
		loud := c.linkLocal(where("free"), "eth0")
		tries = append(tries, onLink("free", "n1", discovery(redirect, loud, c.linkLocal("n1", c.towards(g, "free"))))...)
		tries = append(tries, onlyOn(g, lab.Bridge, onLink("free", where("sealed"), discovery(router, loud, "ff02::1"), udp(loud, "ff02::1", mdnsPort)))...)
		tries = append(tries, forged(where("free"), tcp(friend6, inner6, webPort), udp(friend6, guarded6, dnsPort))...)
		for i := range tries {
			tries[i].o.Extension = true
		}
		c.closes(tries...)
		allowed := honest(tcp(friend6, inner6, webPort), udp(ally6, guarded6, dnsPort), tcp(free6, far6, webPort), tcp(free6, node1v6, webPort))
		for i := range allowed {
			allowed[i].o.Extension = true
		}
		c.passes(allowed...)
	})

	It("are judged in a cluster without IPv6 too, bridged", item, func() {
		g := ground{network: lab.Bridge}
		c := g.raise(p, node(1)+node(2)+namespace+tier+pod("muted", "muted", 1, muted)+pod("sealed", "sealed", 1, sealed)+pod("free", "free", 1, free)+
			allow("muted", "muted", "Egress")+allow("sealed", "sealed", "Ingress"))
		link := map[string]string{}
		for _, name := range []string{"muted", "sealed", "free"} {
			link[name] = c.linkLocal(where(name), "eth0")
		}
		gate := c.linkLocal("n1", "cni0")
		tries := onLink("muted", "n1", tcp(link["muted"], gate, webPort), udp(link["muted"], "ff02::1", 9999))
		tries = append(tries, onLink("muted", where("free"), tcp(link["muted"], link["free"], webPort), udp(link["muted"], "ff02::1", 9999))...)
		tries = append(tries, onLink("free", where("sealed"), tcp(link["free"], link["sealed"], webPort), udp(link["free"], "ff02::1", 9999))...)
		c.closes(tries...)
	})

	onBoth("that nobody has are an unknown workload's", item, func(g ground) {
		c := g.raise(p, field())
		c.closes(forged(where("free"), udp(stranger, far, dnsPort), tcp(stranger, outside, webPort), udp("2001:db8:77::9", far6, dnsPort), tcp("2001:db8:77::9", outside6, webPort), tcp("2001:db8:77::9", node1v6, webPort))...)
	})

	onBoth("are as good as others where no policy selects a pod", item, func(g ground) {
		c := g.raise(p, field())
		gather(c, g)
		c.add("lo", "169.254.20.10/32")
		c.run()
		free6Link, gate := c.linkLocal(where("free"), "eth0"), c.linkLocal("n1", c.towards(g, "free"))
		tries := unlisted("free", free, free6Link, "n1", gate)
		tries = append(tries, forged(where("free"), tcp("169.254.7.7", node1, webPort), udp("169.254.7.7", far, dnsPort))...)
		tries = append(tries, honest(udp(free, "169.254.20.10", dnsPort), tcp(free, "169.254.20.10", dnsPort), tcp(free, node1, webPort), ping(free6, node1v6))...)
		tries = append(tries, onlyOn(g, lab.Bridge, unlisted("free", free, free6Link, where("loose"), c.linkLocal(where("loose"), "eth0")))...)
		c.passes(tries...)
	})

	onBoth("of a node reach its pods", item, func(g ground) {
		c := g.raise(p, field())
		gather(c, g)
		c.run()
		iface := c.towards(g, "sealed")
		gate, link := c.linkLocal("n1", iface), c.linkLocal(where("sealed"), "eth0")
		for _, f := range []model.Flow{tcp(gate, link, webPort), ping(gate, link), udp(gate, "ff02::1", 9999), udp(gate, "ff02::fb", mdnsPort), udp(node1, "224.0.0.251", mdnsPort)} {
			c.passes(try{text: "n1", flow: f, o: lab.Options{From: "n1", Interface: iface, To: []string{where("sealed")}}})
		}
	})

	onBoth("that keep a network alive pass before policy", Label("issue11-1", "issue11-6"), func(g ground) {
		c := g.raise(p, field())
		gather(c, g)
		c.join("n1", c.towards(g, "muted"), "224.0.0.22", "ff02::16")
		link, gate := c.linkLocal(where("muted"), "eth0"), c.linkLocal("n1", c.towards(g, "muted"))
		dhcp, dhcp6 := udp("0.0.0.0", "255.255.255.255", 67), udp(link, "ff02::1:2", 547)
		dhcp.SrcPort, dhcp6.SrcPort = 68, 546
		tries := onLink("muted", "n1", discovery(133, link, "ff02::1"), discovery(135, link, gate), discovery(135, muted6, gate), discovery(136, link, gate), discovery(136, link, "ff02::1"),
			discovery(135, link, "ff02::1"), discovery(131, link, "ff02::fb"), discovery(143, link, "ff02::16"), model.Flow{Src: addr(muted), Dst: addr("224.0.0.22"), Protocol: 2}, dhcp, dhcp6)
		c.passes(tries...)
		c.run()
		c.passes(tries...)
		// What has been learned of neighbours is learned anew.
		for _, name := range []string{"muted", "sealed", "free"} {
			if g.network == lab.Bridge {
				Expect(c.lab.Command(where(name), "ip", "neigh", "flush", "all").Run()).To(Succeed())
			}
		}
		c.passes(honest(tcp(free, loose, webPort), tcp(free6, loose6, webPort), tcp(sealed6, far6, webPort), tcp(node1v6, muted6, webPort))...)
		c.stops(honest(tcp(muted6, loose6, webPort), tcp(loose6, sealed6, webPort))...)
	})
})

var _ = onEach("Packets of odd sizes and ways", func(p *plane) {
	onBoth("arrive whole though they go in fragments", Label("issue11-neighbours"), func(g ground) {
		c := g.raise(p, field())
		c.run()
		for _, way := range [][2]string{{free, loose}, {free6, loose6}, {free, far}, {far6, free6}, {friend, guarded}, {ally6, inner6}, {free, node1}, {node2v6, free6}} {
			Expect(sends(c.lab, way[0], way[1], dnsPort, 4000)).To(Equal(4000), "%v", way)
		}
	})
})

// sends sends a datagram and returns how much of it arrives.
func sends(l *lab.Lab, from, to string, port, size int) int {
	GinkgoHelper()
	var server net.PacketConn
	at, _ := l.Owner(addr(to))
	Expect(l.Do(at, func() (err error) {
		server, err = net.ListenPacket("udp", net.JoinHostPort(to, strconv.Itoa(port)))
		return err
	})).To(Succeed())
	defer func() { _ = server.Close() }()
	at, _ = l.Owner(addr(from))
	Expect(l.Do(at, func() error {
		c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp", net.JoinHostPort(to, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Write(make([]byte, size))
		return err
	})).To(Succeed())
	Expect(server.SetReadDeadline(time.Now().Add(5 * time.Second))).To(Succeed())
	b := make([]byte, 1<<16)
	n, _, err := server.ReadFrom(b)
	Expect(err).NotTo(HaveOccurred())
	return n
}
