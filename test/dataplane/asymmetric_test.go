package dataplane

import (
	. "github.com/onsi/ginkgo/v2"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// halves are packets of connections of which the node has not seen the beginning.
func halves(flows ...model.Flow) []try {
	var out []try
	for _, f := range flows {
		for text, flags := range map[string]uint8{"SYN-ACK": lab.SYN | lab.ACK, "ACK": lab.ACK} {
			out = append(out, try{text: text, flow: f, o: lab.Options{Flags: flags}})
		}
	}
	return out
}

var _ = onEach("Asymmetric routes", func(p *plane) {
	item := Label("issue11-14")
	// everything is allowed, in all the ways that policies of hosts can say it.
	everything := hostPolicy("everything", "role == 'host'", "applyOnForward: true", "types: [Ingress, Egress]", "ingress:", "- {action: Allow}", "egress:", "- {action: Allow}")

	for _, iface := range []string{"*", "eth0"} {
		onBoth("work where host endpoint "+iface+" allows everything", item, func(g ground) {
			g.spec = withBeyond
			c := g.raise(p, field()+hostEndpoint("host", 1, iface)+everything)
			c.run()
			c.passes(halves(tcp(outside, node1, webPort), tcp(outside6, node1v6, webPort), tcp(node1, outside, webPort), tcp(node1v6, outside6, webPort),
				tcp(outside, beyond, webPort), tcp(beyond, outside, webPort), tcp(beyond6, outside6, webPort))...)
			c.passes(halves(tcp(outside, free, webPort), tcp(free, outside, webPort))...)
		})
	}

	onBoth("bring nothing in that no policy allows", item, func(g ground) {
		g.spec = withBeyond
		c := g.raise(p, field()+hostEndpoint("host", 1, "*")+hostPolicy("web", "role == 'host'", "applyOnForward: true", "types: [Ingress, Egress]",
			"ingress:", "- {action: Allow, protocol: TCP, destination: {ports: [80]}}", "egress:", "- {action: Allow, protocol: TCP, destination: {ports: [80]}}"))
		tries := halves(tcp(outside, node1, 81), tcp(outside6, node1v6, 81), tcp(node1, outside, 81), tcp(outside, beyond, 81), tcp(beyond6, outside6, 81))
		c.closes(tries...)
		c.passes(honest(tcp(outside, node1, webPort), tcp(node1v6, outside6, webPort), tcp(outside, beyond, webPort))...)
	})

	onBoth("do not open what pods' policies close", item, func(g ground) {
		c := g.raise(p, field())
		c.closes(halves(tcp(outside, sealed, webPort), tcp(free, sealed, webPort), tcp(muted6, outside6, webPort), tcp(far6, inner6, webPort))...)
	})
})
