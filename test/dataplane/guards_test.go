package dataplane

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// settings is the Tierwall object. Lines are of its spec.
func settings(lines ...string) string {
	return "---\napiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\nspec:\n  " + strings.Join(lines, "\n  ") + "\n"
}

// guards sets all guards to a mode.
func guards(mode string) string {
	mode = `"` + mode + `"` // YAML takes Off for a boolean
	return settings("sourceGuard: "+mode, "linkGuard: "+mode, "encapsulationGuard: "+mode, "wildcardGuard: "+mode)
}

// becomePassing waits until all of the packets arrive.
func (c *cluster) becomePassing(tries ...try) {
	GinkgoHelper()
	Eventually(func() []string {
		_, stay := c.sort(tries)
		return stay
	}, "3s").Should(BeEmpty(), "these do not arrive")
}

var _ = onEach("Guards", func(p *plane) {
	item := Label("issue11-guards")

	for _, mode := range []string{"Count", "Off"} {
		onBoth("let pass what they would drop while they are set to "+mode, item, func(g ground) {
			c := g.raise(p, field()+guards(mode)+hostEndpoint("all", 1, "*", "defaultAction: Allow")+
				hostPolicy("closing", "role == 'host'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Deny, protocol: TCP, destination: {ports: [8080]}}"))
			Expect(c.lab.AddOverlay(lab.Overlay{})).To(Succeed())
			link, gate := c.linkLocal(where("muted"), "eth0"), c.linkLocal("n1", c.towards(g, "muted"))
			tries := onLink("muted", "n1", tcp(link, gate, webPort), udp(link, "ff02::1", mdnsPort))
			tries = append(tries, forged(where("free"), tcp(friend, guarded, webPort), udp(friend6, inner6, dnsPort))...)
			tries = append(tries, forged("outside", tcp(friend, inner, webPort))...)
			tries = append(tries, enveloped(where("free"), tcp(friend, guarded, webPort), lab.Envelope{Src: addr(free), Node: "n2"}))
			tries = append(tries, honest(tcp(free, node1, 8080), tcp(free6, loose6, 8080))...)
			tries = append(tries, onlyOn(g, lab.Bridge, onLink("free", where("sealed"), udp(free, "255.255.255.255", 9999)))...)
			denied := honest(tcp(free, guarded, webPort), tcp(outside, node1, 8080), tcp(muted, far, webPort), tcp(outside, sealed, webPort), udp(far6, inner6, dnsPort))
			c.run()
			c.passes(tries...)
			c.stops(denied...)
			c.apply(guards("Enforce"))
			c.becomeStopped(append(tries, denied...)...)
			c.passes(honest(tcp(friend, guarded, webPort), tcp(free, far, webPort), tcp(free, node1, webPort))...)
			c.apply(guards(mode))
			c.becomePassing(tries...)
			c.stops(denied...)
		})
	}

	onBoth("of tunnels are a setting", item, func(g ground) {
		c := g.raise(p, field()+onlySSH+settings("failsafe: {tunnels: false}"))
		Expect(c.lab.AddOverlay(lab.Overlay{})).To(Succeed())
		tries := honest(tcp(free, far, webPort), udp(far6, free6, dnsPort))
		c.closes(tries...)
		c.apply(settings("failsafe: {tunnels: true}"))
		c.becomePassing(tries...)
	})

	onBoth("use the bits of marks that are theirs, and no others", Label("issue11-guards", "issue11-15"), func(g ground) {
		c := g.raise(p, field()+settings(`marks: "0x00030000"`)+hostEndpoint("all", 1, "*", "defaultAction: Allow")+
			hostPolicy("early", "role == 'host'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Allow, protocol: TCP, destination: {ports: [80]}}"))
		c.run()
		denied := honest(tcp(free, guarded, webPort), udp(outside, inner, dnsPort), tcp(muted6, far6, webPort))
		for _, mark := range []uint32{0x7ffc0f00, 0x30000000} {
			c.load("n1", marker(mark))
			c.passes(honest(tcp(friend, guarded, webPort), udp(friend6, guarded6, dnsPort), tcp(ally, inner, webPort), tcp(free, node1, webPort), tcp(outside, free, webPort), tcp(node1, sealed, webPort))...)
			Expect(c.marks("n1")).To(And(HaveKeyWithValue("lost", "0"), Not(HaveKeyWithValue("kept", "0"))))
			c.stops(denied...)
		}
		c.load("n1", marker(0x00030000))
		c.stops(denied...)
	})
})
