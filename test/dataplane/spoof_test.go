package dataplane

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// shut closes n1: a host endpoint "*" that lets nothing in, before translation
// and after it.
var shut = hostEndpoint("n1", 1, "*") +
	hostPolicy("shut-early", "role == 'host'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Deny, source: {notNets: [10.1.0.0/16, 'fd00:1::/32']}}") +
	hostPolicy("shut", "role == 'host'", "types: [Ingress]", "ingress:", "- {action: Deny}")

var _ = onEach("Source addresses of others", func(p *plane) {
	item := Label("issue11-2")

	onBoth("that are a local pod's do not come from outside", item, func(g ground) {
		c := g.raise(p, field()+shut)
		c.closes(append(
			forged("outside", tcp(muted, node1, webPort), udp(free, node1, dnsPort), ping(free, node1), tcp(free6, node1v6, webPort),
				tcp(friend, inner, webPort), udp(friend6, inner6, dnsPort), udp(free, loose, dnsPort), udp(free6, loose6, dnsPort)),
			// Other nodes are outside, too.
			forged("n2", tcp(friend, inner, webPort), tcp(friend6, inner6, webPort), tcp(free, node1, webPort))...)...)
	})

	onBoth("do not come from a pod", item, func(g ground) {
		c := g.raise(p, field())
		tries := forged(where("free"), tcp(friend, guarded, webPort), udp(friend6, guarded6, dnsPort), tcp(friend, inner, webPort), udp(friend6, inner6, dnsPort), tcp(friend, node1, webPort), tcp(friend6, node1v6, webPort),
			tcp(ally, inner, webPort), tcp(ally6, inner6, webPort), tcp(far, outside, webPort), tcp(node2, inner, webPort), tcp(node1v6, inner6, webPort), tcp(node1v6, sealed6, webPort))
		tries = append(tries, onlyOn(g, lab.Bridge, forged(where("free"), tcp(node1, sealed, webPort), udp("10.1.1.1", sealed, dnsPort)))...)
		// A pod that may send nothing, as one that may.
		tries = append(tries, forged(where("muted"), tcp(free, outside, webPort), udp(free6, outside6, dnsPort), tcp(free, far, webPort), tcp(free6, node1v6, webPort))...)
		c.closes(tries...)
		// They are who they are, themselves.
		c.passes(honest(tcp(friend, guarded, webPort), udp(friend6, guarded6, dnsPort), tcp(friend, inner, webPort), tcp(ally6, inner6, webPort), tcp(free, outside, webPort), tcp(node1, sealed, webPort), tcp(node1v6, sealed6, webPort), tcp(free, node1, webPort), tcp(outside, free, webPort))...)
	})

	onBoth("do not take part in connections of theirs", item, func(g ground) {
		c := g.raise(p, field())
		c.run()
		for _, way := range [][2]string{{friend, inner}, {friend6, inner6}} {
			f := tcp(way[0], way[1], webPort)
			f.SrcPort = 7777
			s, err := c.lab.OpenStream(context.Background(), lab.StreamOptions{Protocol: model.TCP, Src: join(way[0], 7777), Dst: join(way[1], webPort)})
			Expect(err).NotTo(HaveOccurred())
			for _, from := range []string{"outside", where("free")} {
				for _, flags := range []uint8{lab.RST, lab.ACK} {
					c.stops(try{text: from + " as", flow: f, o: lab.Options{From: from, Flags: flags, KeepConnection: true}})
				}
			}
			Expect(s.Close().Err).NotTo(HaveOccurred())
		}
	})

	onBoth("that have gone from one pod to another are the other's", item, func(g ground) {
		c := g.raise(p, field())
		c.run()
		c.passes(honest(tcp(friend, guarded, webPort))...)
		Expect(c.lab.RemovePod(where("friend"))).To(Succeed())
		c.remove("Pod/app/friend")
		Expect(c.lab.AddPod(lab.Pod{Namespace: "app", Name: "late", Node: "n1", Addrs: addrs(friend, friend6)})).To(Succeed())
		c.apply(pod("late", "friend", 1, friend, friend6))
		becomes(c.lab, tcp(friend, guarded, webPort), true)
		becomes(c.lab, udp(friend6, inner6, dnsPort), true)
		Eventually(func() []string {
			arrive, _ := c.sort(forged(where("free"), tcp(friend, guarded, webPort), tcp(friend6, inner6, webPort)))
			return arrive
		}, 5*time.Second).Should(BeEmpty())
	})

	onBoth("are a pod's own when it reaches itself by its Service", Label("issue11-2", "issue11-neighbours"), func(g ground) {
		c := g.raise(p, field())
		for _, name := range []string{"free", "inner"} { // without it IPv4 refuses its own address as a source
			Expect(c.lab.Command(where(name), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/accept_local").Run()).To(Succeed())
		}
		for _, masquerade := range []bool{false, true} {
			services := []lab.Service{}
			for at, to := range map[string]string{"10.96.0.20": free, "fd00:96::20": free6, "10.96.0.21": inner, "fd00:96::21": inner6} {
				services = append(services, lab.Service{Addr: join(at, 80), Protocol: model.TCP, Backends: addrPorts(to, 8080), Masquerade: masquerade})
			}
			Expect(c.lab.SetServices(services...)).To(Succeed())
			if c.fleet == nil {
				c.run()
			}
			c.passes(honest(tcp(free, "10.96.0.20", 80), tcp(free6, "fd00:96::20", 80), tcp(inner, "10.96.0.21", 80), tcp(inner6, "fd00:96::21", 80), tcp(loose, "10.96.0.20", 80))...)
		}
	})
})
