package dataplane

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// counted returns a node's metrics of a guard's packets by action, and the
// policies that have metrics of rules.
func (c *cluster) counted(node, guard string) (packets map[string]float64, policies []string) {
	GinkgoHelper()
	g, err := c.fleet.Collect(node)
	Expect(err).NotTo(HaveOccurred())
	families, err := g.Gather()
	Expect(err).NotTo(HaveOccurred())
	packets = map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch {
			case f.GetName() == "tierwall_guard_packets_total" && labels["guard"] == guard:
				packets[labels["action"]] = m.GetCounter().GetValue()
			case strings.HasPrefix(f.GetName(), "tierwall_rule_"):
				policies = append(policies, labels["policy"])
			}
		}
	}
	return packets, policies
}

var _ = onEach("Guards' packets", func(p *plane) {
	onBoth("are metrics of the agent", Label("issue11-guards"), func(g ground) {
		c := g.raise(p, field()+guards("Count"))
		c.run()
		tries := forged(where("free"), tcp(friend, guarded, webPort), udp(friend6, inner6, dnsPort))
		packets, _ := c.counted("n1", "source")
		Expect(packets).To(Equal(map[string]float64{"dropped": 0, "counted": 0}))
		c.passes(tries...)
		packets, policies := c.counted("n1", "source")
		Expect(packets).To(HaveKeyWithValue("counted", BeNumerically(">=", 2)))
		Expect(packets).To(HaveKeyWithValue("dropped", BeZero()))
		Expect(policies).NotTo(BeEmpty())
		Expect(policies).NotTo(ContainElement(HavePrefix("Guard/")))
		c.apply(guards("Enforce"))
		c.becomeStopped(tries...)
		c.becomeStopped(tries...) // iptables counts anew where it writes a family after the other's packet
		packets, _ = c.counted("n1", "source")
		Expect(packets).To(HaveKeyWithValue("dropped", BeNumerically(">=", 2)))
	})
})

// judged is what a guard that counts would do.
type judged struct {
	guard string
	// drops is counted once each, spares is not.
	drops, spares []try
}

// counts holds a guard to count those packets that it drops when it is set to
// Enforce, each once, and to let all pass.
func (c *cluster) counts(list ...judged) {
	GinkgoHelper()
	c.run()
	for _, j := range list {
		for i, t := range append(j.drops[:len(j.drops):len(j.drops)], j.spares...) {
			before, _ := c.counted("n1", j.guard)
			c.passes(t)
			after, _ := c.counted("n1", j.guard)
			want := 1.0
			if i >= len(j.drops) {
				want = 0
			}
			Expect(after["counted"]-before["counted"]).To(Equal(want), "%s counts %s", j.guard, t)
			Expect(after["dropped"]).To(BeZero(), "%s drops %s", j.guard, t)
		}
	}
	c.apply(guards("Enforce"))
	for _, j := range list {
		c.becomeStopped(j.drops...)
		c.passes(j.spares...)
	}
	c.apply(guards("Count"))
	for _, j := range list {
		c.becomePassing(append(j.drops[:len(j.drops):len(j.drops)], j.spares...)...)
	}
}

var _ = onEach("Guards that count", func(p *plane) {
	item := Label("issue11-guards", "issue11-counts")

	onBoth("count what they would drop, of unlisted addresses", item, func(g ground) {
		// chatty may send by its link to one port, polite takes from it.
		c := g.raise(p, field()+guards("Count")+pod("chatty", "chatty", 1, "10.1.1.26", "fd00:1:1::26")+
			hostPolicy("chatty", "role == 'chatty'", "types: [Egress]", "egress:", "- {action: Allow, protocol: TCP, destination: {ports: [80]}}"))
		gate := c.linkLocal("n1", c.towards(g, "muted"))
		link := map[string]string{}
		for _, name := range []string{"muted", "sealed", "free", "loose", "chatty"} {
			link[name] = c.linkLocal(where(name), "eth0")
		}
		drops := onLink("muted", "n1", tcp(link["muted"], gate, webPort), ping(link["muted"], gate), udp("169.254.7.7", node1, 9999), udp(stranger, node1, 9999))
		drops = append(drops, onLink("free", "n1", udp(stranger, node1, 9999), tcp("2001:db8:77::9", node1v6, webPort))...)
		drops = append(drops, onLink("chatty", "n1", udp(link["chatty"], c.linkLocal("n1", c.towards(g, "chatty")), mdnsPort))...)
		drops = append(drops, forged(where("muted"), udp("169.254.7.7", far, dnsPort), tcp("169.254.7.7", outside, webPort))...)
		drops = append(drops, forged(where("free"), udp(stranger, far, dnsPort))...)
		spares := onLink("free", "n1", tcp(link["free"], c.linkLocal("n1", c.towards(g, "free")), webPort), udp("169.254.7.7", node1, 9999), discovery(135, link["free"], c.linkLocal("n1", c.towards(g, "free"))))
		spares = append(spares, onLink("sealed", "n1", tcp(link["sealed"], c.linkLocal("n1", c.towards(g, "sealed")), webPort))...)
		spares = append(spares, onLink("chatty", "n1", tcp(link["chatty"], c.linkLocal("n1", c.towards(g, "chatty")), webPort))...)
		spares = append(spares, forged(where("free"), udp("169.254.7.7", far, dnsPort))...)
		spares = append(spares, honest(tcp(free, loose, webPort), tcp(friend, guarded, webPort), udp(free6, far6, dnsPort), tcp(node1, free, webPort))...)
		if g.network == lab.Bridge {
			drops = append(drops, onLink("muted", where("free"), tcp(link["muted"], link["free"], webPort), udp("169.254.7.7", free, 9999))...)
			drops = append(drops, onLink("free", where("sealed"), tcp(link["free"], link["sealed"], webPort), udp(link["free"], link["sealed"], mdnsPort))...)
			drops = append(drops, onLink("chatty", where("free"), udp(link["chatty"], link["free"], mdnsPort))...)
			spares = append(spares, onLink("free", where("loose"), tcp(link["free"], link["loose"], webPort))...)
			spares = append(spares, onLink("sealed", where("loose"), udp(link["sealed"], link["loose"], mdnsPort))...)
			spares = append(spares, onLink("chatty", where("free"), tcp(link["chatty"], link["free"], webPort))...)
		}
		advertised := onLink("muted", "n1", discovery(router, link["muted"], gate), discovery(redirect, link["muted"], gate))
		advertised = append(advertised, onLink("free", "n1", discovery(redirect, link["free"], c.linkLocal("n1", c.towards(g, "free"))))...)
		heard := onLink("free", "n1", discovery(router, link["free"], c.linkLocal("n1", c.towards(g, "free"))))
		if g.network == lab.Bridge {
			advertised = append(advertised, onLink("free", where("sealed"), discovery(router, link["free"], link["sealed"]), discovery(router, link["free"], sealed6))...)
			heard = append(heard, onLink("free", where("loose"), discovery(router, link["free"], link["loose"]))...)
		}
		c.counts(judged{"link", drops, spares}, judged{"discovery", advertised, heard})
	})

	onBoth("count what they would drop, where pods may not reach their node", item, func(g ground) {
		c := g.raise(p, field()+settings("sourceGuard: Count", "linkGuard: Count", "endpointToHostAction: Drop"))
		c.run()
		link, gate := c.linkLocal(where("free"), "eth0"), c.linkLocal("n1", c.towards(g, "free"))
		for _, t := range append(onLink("free", "n1", tcp(link, gate, webPort), udp("169.254.7.7", node1, 9999)), forged(where("free"), udp("169.254.7.7", far, dnsPort))...) {
			before, _ := c.counted("n1", "link")
			c.passes(t)
			after, _ := c.counted("n1", "link")
			want := 1.0
			if t.o.To == nil {
				want = 0
			}
			Expect(after["counted"]-before["counted"]).To(Equal(want), t.String())
		}
		c.stops(honest(tcp(free, node1, webPort))...)
	})

	onBoth("count what they would drop, of sources, tunnels and the host endpoint of all interfaces", item, func(g ground) {
		early := []string{"preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:"}
		c := g.raise(p, field()+guards("Count")+hostEndpoint("all", 1, "*", "defaultAction: Allow")+
			hostPolicy("early", "role == 'host'", append(early, "- {action: Deny, protocol: TCP, destination: {ports: [8080]}}", "- {action: Allow, protocol: TCP, destination: {ports: [9091]}}")...)+
			hostPolicy("untracked", "role == 'host'", "doNotTrack: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Deny, protocol: UDP, destination: {ports: [7777]}}")+
			hostPolicy("through", "role == 'host'", "applyOnForward: true", "types: [Ingress, Egress]",
				"ingress:", "- {action: Deny, protocol: TCP, destination: {ports: [9090, 9091, 8080]}}", "- {action: Allow}",
				"egress:", "- {action: Deny, protocol: TCP, destination: {ports: [6060]}}", "- {action: Allow}"))
		Expect(c.lab.AddOverlay(lab.Overlay{})).To(Succeed())
		c.counts(
			judged{"wildcard",
				honest(tcp(free, node1, 8080), tcp(free6, loose6, 8080), tcp(free, far, 8080), udp(free, node1, 7777), udp(free6, far6, 7777), tcp(free, loose, 9090), tcp(free6, far6, 9090), tcp(free, loose, 6060), tcp(far6, free6, 6060)),
				honest(tcp(free, node1, webPort), tcp(free, loose, webPort), tcp(free6, far6, webPort), tcp(free, loose, 9091), tcp(free, node1, 9091), tcp(far, free, webPort), tcp(node1, free, 9090), tcp(outside, free, webPort))},
			judged{"source", append(forged(where("free"), tcp(friend, guarded, webPort), udp(friend6, inner6, dnsPort)), forged("outside", tcp(friend, inner, webPort))...),
				honest(tcp(friend, guarded, webPort), udp(friend6, inner6, dnsPort))},
			judged{"encapsulation", []try{enveloped(where("free"), tcp(friend, guarded, webPort), lab.Envelope{Src: addr(free), Node: "n2"})},
				honest(udp(free, far, 4789), udp(free, node2, 4790), udp(node1, node2, 4789), tcp(free, far, webPort))})
		// What the node's other connections meet is done as ever.
		c.stops(honest(tcp(outside, node1, 8080), tcp(outside, free, 9090), tcp(far, free, 8080), tcp(free, outside, 6060))...)
	})

	onBoth("open nothing of what a host endpoint denies pods", item, func(g ground) {
		c := g.raise(p, field()+settings("sourceGuard: Count", "linkGuard: Count", "encapsulationGuard: Count", "wildcardGuard: Count", "endpointToHostAction: Return")+
			hostEndpoint("all", 1, "*")+
			hostPolicy("early", "role == 'host'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Allow, protocol: TCP, destination: {ports: [9091]}}")+
			hostPolicy("host", "role == 'host'", "types: [Ingress]", "ingress:", "- {action: Allow, protocol: TCP, destination: {ports: [80]}}"))
		c.run()
		c.passes(honest(tcp(free, node1, webPort), tcp(outside, node1, 9091))...)
		c.stops(honest(tcp(free, node1, 9091), tcp(free6, node1v6, 9091), tcp(free, guarded, webPort), tcp(free6, sealed6, webPort))...)
	})
})
