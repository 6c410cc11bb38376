package dataplane

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// router and redirect are types of ICMPv6.
const router, redirect = 134, 137

// routesByAdvertisement are the default routes that a place has learned.
func (c *cluster) routesByAdvertisement(where string) string {
	GinkgoHelper()
	out, err := c.lab.Command(where, "ip", "-6", "route", "show", "default", "proto", "ra").Output()
	Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(string(out))
}

// heeds has a place take routers' advertisements by an interface.
func (c *cluster) heeds(where, iface string) {
	GinkgoHelper()
	Expect(c.lab.Command(where, "sh", "-c", "echo 2 >/proc/sys/net/ipv6/conf/"+iface+"/accept_ra").Run()).To(Succeed())
}

var _ = onEach("Routers' advertisements", func(p *plane) {
	item := Label("issue11-6")

	onBoth("of a pod that may send nothing reach nobody", item, func(g ground) {
		c := g.raise(p, field())
		iface := c.towards(g, "muted")
		link, gate := c.linkLocal(where("muted"), "eth0"), c.linkLocal("n1", iface)
		tries := onLink("muted", "n1", discovery(router, link, "ff02::1"), discovery(router, link, gate), discovery(redirect, link, gate))
		for _, name := range []string{"free", "sealed"} {
			tries = append(tries, onlyOn(g, lab.Bridge, onLink("muted", where(name), discovery(router, link, "ff02::1"), discovery(router, link, c.linkLocal(where(name), "eth0"))))...)
		}
		c.closes(tries...)
	})

	onBoth("make no pod the router of a node or of pods", item, func(g ground) {
		c := g.raise(p, field())
		iface := c.towards(g, "muted")
		link := c.linkLocal(where("muted"), "eth0")
		c.run()
		victims := map[string]string{"n1": iface}
		if g.network == lab.Bridge {
			victims[where("free")], victims[where("sealed")] = "eth0", "eth0"
		}
		for victim, by := range victims {
			c.heeds(victim, by)
			c.stops(onLink("muted", victim, discovery(router, link, "ff02::1"))...)
		}
		for victim := range victims {
			Expect(c.routesByAdvertisement(victim)).To(BeEmpty(), victim)
		}
	})

	It("do not reach a pod that takes nothing, bridged", item, func() {
		g := ground{network: lab.Bridge}
		c := g.raise(p, field())
		link, to := c.linkLocal(where("free"), "eth0"), c.linkLocal(where("sealed"), "eth0")
		c.closes(onLink("free", where("sealed"), discovery(router, link, "ff02::1"), discovery(router, link, to), discovery(redirect, link, to))...)
	})

	onBoth("redirect nobody if they are a pod's", item, func(g ground) {
		c := g.raise(p, field())
		link, gate := c.linkLocal(where("free"), "eth0"), c.linkLocal("n1", c.towards(g, "free"))
		tries := onLink("free", "n1", discovery(redirect, link, gate))
		tries = append(tries, onlyOn(g, lab.Bridge, onLink("free", where("loose"), discovery(redirect, link, c.linkLocal(where("loose"), "eth0"))))...)
		c.closes(tries...)
	})

	onBoth("of the network's routers reach nodes that let nothing in", item, func(g ground) {
		c := g.raise(p, field()+hostEndpoint("all", 1, "*")+hostPolicy("nothing", "role == 'host'", "types: [Ingress, Egress]"))
		iface, err := c.lab.WireInterface("n1")
		Expect(err).NotTo(HaveOccurred())
		near, gate := c.linkLocal(lab.Wire, iface), c.linkLocal("n1", "eth0")
		c.run()
		c.heeds("n1", "eth0")
		c.passes(c.fromWire(discovery(135, near, gate), discovery(136, near, "ff02::1"), discovery(router, near, "ff02::1"))...)
		Eventually(func() string { return c.routesByAdvertisement("n1") }).Should(ContainSubstring("via " + near))
	})
})
