package dataplane

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// overlays are the networks between nodes that specs are tried on.
var overlays = []lab.Overlay{{}, {Port: 8472, Interface: "flannel.1"}, {IPv6: true}}

// overlaid describes what holds with each overlay on both kinds of networks of pods.
func overlaid(text string, labels Labels, body func(g ground, o lab.Overlay)) {
	for _, o := range overlays {
		onBoth(fmt.Sprintf("%s, VXLAN to port %d, IPv6 %t", text, max(o.Port, 4789), o.IPv6), labels, func(g ground) { body(g, o) })
	}
}

// enveloped is a packet that a place sends inside of a datagram of the overlay.
func enveloped(from string, f model.Flow, e lab.Envelope) try {
	return try{text: from + " to the tunnel of " + e.Node, flow: f, o: lab.Options{From: from, Inside: &e}}
}

// onlySSH has both nodes let nothing in but SSH, and nothing out.
var onlySSH = hostEndpoint("n1", 1, "*") + hostEndpoint("n2", 2, "*") +
	hostPolicy("ssh", "role == 'host'", "types: [Ingress, Egress]", "ingress:", "- {action: Allow, protocol: TCP, destination: {ports: [22]}}")

var _ = onEach("Encapsulation", func(p *plane) {
	overlaid("from pods does not get to nodes' tunnels", Label("issue11-3"), func(g ground, o lab.Overlay) {
		c := g.raise(p, field())
		Expect(c.lab.AddOverlay(o)).To(Succeed())
		src, hidden, at, port := free, "203.0.113.77", node2, max(o.Port, 4789)
		if o.IPv6 {
			src, hidden, at = free6, "2001:db8:77::7", node2v6
		}
		Expect(c.lab.SetServices(lab.Service{Addr: join(hidden, 4000), Protocol: model.UDP, Backends: addrPorts(at, port)})).To(Succeed())
		var tries []try
		for _, f := range []model.Flow{tcp(friend, guarded, webPort), udp(friend6, guarded6, dnsPort), tcp(stranger, far, webPort)} {
			tries = append(tries, enveloped(where("free"), f, lab.Envelope{Src: addr(src), Node: "n2"}),
				// By a Service of which the tunnel is the backend.
				enveloped(where("free"), f, lab.Envelope{Src: addr(src), Node: "n2", Dst: join(hidden, 4000)}))
		}
		for _, f := range []model.Flow{tcp(ally, inner, webPort), udp(ally6, inner6, dnsPort)} {
			tries = append(tries, enveloped(where("free"), f, lab.Envelope{Src: addr(src), Node: "n1"}))
		}
		c.closes(tries...)
		// Pods' own tunnels, nested clusters, other ports; what the network carries.
		c.passes(honest(udp(free, far, port), udp(free6, far6, port), udp(free, loose, port), udp(free, outside, port), udp(free6, outside6, port), udp(free, node2, 4790), udp(free, node1, 4790), udp(far6, node1v6, 4790), tcp(free, node2, port),
			tcp(friend, guarded, webPort), udp(friend6, guarded6, dnsPort), tcp(ally, inner, webPort), tcp(node1, far, webPort), tcp(free, node2, webPort), udp(node1, node2, port))...)
		c.stops(honest(tcp(free, guarded, webPort), udp(free6, guarded6, dnsPort))...)
	})

	onBoth("from pods does not get to addresses of a node that no object lists", Label("issue11-3", "issue11-receiver"), func(g ground) {
		c := g.raise(p, field()+settings("encapsulationGuard: Enforce"))
		Expect(c.lab.AddOverlay(lab.Overlay{})).To(Succeed())
		c.add("lo", virtual+"/32")
		link, gate := c.linkLocal(where("free"), "eth0"), c.linkLocal("n1", c.towards(g, "free"))
		inside := func(from, src string) try {
			return enveloped(where(from), udp(ally, inner, dnsPort), lab.Envelope{Src: addr(src), Node: "n1", Dst: join(virtual, 4789)})
		}
		tries := []try{inside("far", far), inside("free", free), inside("guarded", guarded)}
		c.passes(tries...)
		c.passes(onLink("free", "n1", udp(link, gate, 4789), udp("169.254.7.7", node1, 4789))...)
		c.run()
		c.stops(tries...)
		c.stops(onLink("free", "n1", udp(link, gate, 4789), udp("169.254.7.7", node1, 4789))...)
		// Ends of tunnels elsewhere, other ports, what the network carries.
		c.passes(honest(udp(outside, virtual, 4789), udp(outside, node1, 4789), udp(node2, virtual, 4789), udp(far, virtual, 4790), udp(free, virtual, 4790), tcp(far, virtual, webPort),
			udp(far, free, 4789), tcp(free, far, webPort), udp(ally6, inner6, dnsPort))...)
		c.apply(settings("encapsulationGuard: Count"))
		c.becomePassing(tries...)
		for _, t := range append(tries, onLink("free", "n1", udp(link, gate, 4789))...) {
			before, _ := c.counted("n1", "encapsulation")
			c.passes(t)
			after, _ := c.counted("n1", "encapsulation")
			Expect(after["counted"]-before["counted"]).To(Equal(1.0), t.String())
		}
	})

	onBoth("from pods goes on where nodes have no tunnel", Label("issue11-3"), func(g ground) {
		c := g.raise(p, field())
		c.run()
		c.passes(honest(udp(free, node2, 4789), udp(free6, node2v6, 4789), udp(free, node1, 8472), model.Flow{Src: addr(free), Dst: addr(node2), Protocol: 4}, udp(free, far, 4789))...)
	})

	overlaid("between nodes passes their policies", Label("issue11-12"), func(g ground, o lab.Overlay) {
		c := g.raise(p, field()+onlySSH)
		Expect(c.lab.AddOverlay(o)).To(Succeed())
		c.run()
		port := max(o.Port, 4789)
		tunnel := honest(udp(outside, node1, port), udp(outside6, node1v6, port))
		c.stops(append(tunnel, honest(tcp(free, guarded, webPort), tcp(outside, node1, webPort), tcp(node2, node1, webPort), tcp(node1, outside, webPort),
			// What a node itself sends through its tunnel is its own egress.
			tcp(node1, far, webPort), tcp(node2v6, free6, webPort))...)...)
		c.passes(honest(tcp(free, far, webPort), udp(far6, free6, dnsPort), tcp(friend, guarded, webPort), udp(ally6, inner6, dnsPort), tcp(outside, node1, 22), tcp(outside6, node2v6, 22))...)
	})

	// Tunnels of which this kernel may have no devices: the packets are there all the same.
	for name, t := range map[string]model.Tunnel{
		"IP in IP": {Interface: "tunl9", Protocol: 4}, "IPv6 in IP": {Interface: "sit9", Protocol: 41}, "GRE": {Interface: "gre9", Protocol: 47},
		"Geneve": {Interface: "gnv9", Protocol: model.UDP, Port: 6081}, "WireGuard": {Interface: "wg9", Protocol: model.UDP, Port: 51820},
	} {
		packets := func(ways ...string) []try {
			var flows []model.Flow
			for i := 0; i < len(ways); i += 2 {
				flows = append(flows, model.Flow{Src: addr(ways[i]), Dst: addr(ways[i+1]), Protocol: t.Protocol, DstPort: t.Port})
			}
			return honest(flows...)
		}
		onBoth("of kind "+name+" does not get from pods to nodes, and gets from node to node", Label("issue11-3", "issue11-12", "issue11-kinds"), func(g ground) {
			c := g.raise(p, field()+settings("endpointToHostAction: Accept"))
			c.tunnels = []model.Tunnel{t}
			c.add("lo", virtual+"/32")
			c.closes(packets(free, node2, free6, node2v6, free, node1, free6, node1v6, far, virtual, far, node1)...)
			c.passes(packets(free, far, free6, loose6, free, outside, far6, outside6, node1, node2, node2v6, node1v6, outside, node1, outside, virtual)...)
			c.apply(onlySSH)
			c.becomeStopped(honest(tcp(outside, node1, webPort), tcp(outside6, node2v6, webPort))...)
			c.passes(packets(node1, node2, node2v6, node1v6)...)
			c.stops(packets(outside, node1, outside6, node2v6, node1, outside)...)
		})
	}
})
