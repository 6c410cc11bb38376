package dataplane

import (
	"fmt"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// unlistedOfNode gives n1 addresses that no object lists.
func unlistedOfNode(c *cluster) {
	GinkgoHelper()
	c.add("eth0", virtual+"/32")
	c.add("eth0", virtual6+"/128")
	c.add("docker0", "172.17.0.1/16")
	c.add("docker0", "fd00:17::1/64")
	c.add("lo", "198.51.100.60/32")
}

// fromWire are packets of a neighbour of n1's on the wire to n1.
func (c *cluster) fromWire(flows ...model.Flow) []try {
	GinkgoHelper()
	iface, err := c.lab.WireInterface("n1")
	Expect(err).NotTo(HaveOccurred())
	var out []try
	for _, f := range flows {
		out = append(out, try{text: "neighbour", flow: f, o: lab.Options{From: lab.Wire, Interface: iface, To: []string{"n1"}}})
	}
	return out
}

// openEgress and openIngress are policies of one direction of hosts.
var (
	openEgress  = hostPolicy("open-egress", "role == 'host'", "types: [Egress]", "egress:", "- {action: Allow}")
	openIngress = hostPolicy("open-ingress", "role == 'host'", "types: [Ingress]", "ingress:", "- {action: Allow}")
)

var _ = onEach("Host endpoints of interfaces", func(p *plane) {
	item := Label("issue11-4")

	onBoth("guard them whatever the address that is asked for", item, func(g ground) {
		c := g.raise(p, field()+hostEndpoint("uplink", 1, "eth0", "expectedIPs: ["+node1+", '"+node1v6+"']")+openEgress)
		unlistedOfNode(c)
		c.join("n1", "eth0", "224.0.0.251", "ff02::fb")
		iface, err := c.lab.WireInterface("n1")
		Expect(err).NotTo(HaveOccurred())
		near, gate := c.linkLocal(lab.Wire, iface), c.linkLocal("n1", "eth0")
		tries := honest(tcp(outside, node1, webPort), tcp(outside, virtual, webPort), udp(outside6, virtual6, dnsPort), ping(outside, virtual), tcp(outside, "172.17.0.1", webPort), tcp(outside6, "fd00:17::1", webPort), udp(outside, "198.51.100.60", dnsPort), tcp(node2, virtual, webPort))
		if g.network == lab.Bridge {
			tries = append(tries, honest(tcp(outside, "10.1.1.1", webPort), tcp(outside6, "fd00:1:1::1", webPort))...)
		}
		tries = append(tries, c.fromWire(tcp(near, gate, webPort), udp(near, gate, dnsPort), udp(near, "ff02::1", 9999), udp(near, "ff02::fb", mdnsPort), udp(outside, "224.0.0.251", mdnsPort), udp(outside, "255.255.255.255", 9999))...)
		c.closes(tries...)
		c.passes(honest(tcp(outside, node1, 22), tcp(outside, virtual, 22), tcp(virtual, outside, webPort), tcp(outside, free, webPort), tcp(free, virtual, webPort), tcp(free6, node1v6, webPort), tcp(virtual, sealed, webPort))...)
		c.passes(c.fromWire(discovery(135, near, gate), discovery(136, near, "ff02::1"))...)
	})

	onBoth("guard them whatever the address that sends", item, func(g ground) {
		c := g.raise(p, field()+hostEndpoint("uplink", 1, "eth0", "expectedIPs: ["+node1+", '"+node1v6+"']")+openIngress+
			hostPolicy("no-egress", "role == 'host'", "types: [Egress]", "egress:", "- {action: Deny}"))
		unlistedOfNode(c)
		c.closes(honest(tcp(node1, outside, webPort), tcp(virtual, outside, webPort), udp(virtual6, outside6, 99), tcp("172.17.0.1", outside, webPort), tcp("fd00:17::1", far6, webPort), tcp(virtual, node2, webPort))...)
		c.passes(honest(udp(virtual, outside, 53), tcp(virtual6, outside6, 6443), tcp(virtual, free, webPort), tcp("172.17.0.1", sealed, webPort), tcp(free, outside, webPort))...)
	})

	onBoth("of addresses alone guard addresses", item, func(g ground) {
		c := g.raise(p, field()+hostEndpoint("addresses", 1, "", "expectedIPs: ["+node1+", '"+virtual6+"']")+openEgress)
		unlistedOfNode(c)
		tries := honest(tcp(outside, node1, webPort), tcp(outside6, virtual6, webPort))
		c.closes(tries...)
		c.passes(honest(tcp(outside, virtual, webPort), tcp(outside6, node1v6, webPort), tcp(outside, free, webPort))...)
	})

	// Which of two names sorts first must not matter.
	for _, names := range [][2]string{{"a-uplink", "b-beyond"}, {"b-uplink", "a-beyond"}} {
		onBoth("that are forwarded through are those of the way, "+names[0], item, func(g ground) {
			g.spec = withBeyond
			endpoints := hostEndpoint(names[0], 1, "eth0", "defaultAction: Allow") + hostEndpoint(names[1], 1, "eth1", "defaultAction: Allow")
			closing := func(endpoint, direction string) string {
				return hostPolicy("closing", "name == '"+endpoint+"'", "applyOnForward: true", "types: ["+direction+"]", fmt.Sprintf("%s: [{action: Deny, protocol: TCP, destination: {ports: [80]}}, {action: Allow}]", map[string]string{"Ingress": "ingress", "Egress": "egress"}[direction]))
			}
			c := g.raise(p, field()+endpoints)
			inward := honest(tcp(outside, beyond, webPort), tcp(outside6, beyond6, webPort), tcp(node2, beyond, webPort))
			outward := honest(tcp(beyond, outside, webPort), tcp(beyond6, outside6, webPort))
			c.passes(append(inward, outward...)...)
			c.run()
			c.passes(append(inward, outward...)...)
			for _, stage := range []struct {
				endpoint, direction string
				stopped, free       []try
			}{
				{names[0], "Ingress", inward, outward},
				{names[1], "Egress", inward, outward},
				{names[0], "Egress", outward, inward},
				{names[1], "Ingress", outward, inward},
			} {
				By(stage.endpoint + " " + stage.direction)
				c.apply(closing(stage.endpoint, stage.direction))
				for _, t := range stage.free {
					becomes(c.lab, t.flow, true)
				}
				c.becomeStopped(stage.stopped...)
				c.passes(honest(udp(outside, beyond, dnsPort), udp(beyond6, outside6, dnsPort))...)
			}
			// To pods and from them: by the uplink alone.
			c.apply(closing(names[0], "Ingress"))
			c.becomeStopped(honest(tcp(outside, free, webPort), tcp(outside6, free6, webPort))...)
			c.passes(honest(tcp(beyond, free, webPort), tcp(free, beyond, webPort), tcp(free, outside, webPort), tcp(free, loose, webPort))...)
			c.apply(closing(names[1], "Egress"))
			c.becomeStopped(honest(tcp(free, beyond, webPort), tcp(free6, beyond6, webPort))...)
			c.passes(honest(tcp(outside, free, webPort), tcp(beyond, free, webPort), tcp(free, outside, webPort))...)
		})
	}

	onBoth("judge LoadBalancer addresses by the way in", item, func(g ground) {
		g.spec = withBeyond
		c := g.raise(p, field()+hostEndpoint("a-beyond", 1, "eth1", "defaultAction: Allow")+hostEndpoint("b-uplink", 1, "eth0", "defaultAction: Allow")+
			hostPolicy("closing", "name == 'b-uplink'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Deny, destination: {nets: [198.51.100.1/32]}}", "- {action: Deny, destination: {nets: ['2001:db8:1b::1/128']}}"))
		Expect(c.lab.SetServices(balancers(free, free6)...)).To(Succeed())
		c.closes(honest(tcp(outside, "198.51.100.1", 443), tcp(outside6, "2001:db8:1b::1", 443))...)
		c.passes(honest(tcp(beyond, "198.51.100.1", 443), tcp(beyond6, "2001:db8:1b::1", 443), tcp(loose, "198.51.100.1", 443), tcp(outside, free, 8443))...)
	})
})

// balancers are two addresses of load balancers that lead to a pod by n1.
func balancers(to, to6 string) []lab.Service {
	return []lab.Service{
		{Addr: join("198.51.100.1", 443), Protocol: model.TCP, Backends: addrPorts(to, 8443), Via: "n1"},
		{Addr: join("198.51.100.1", 443), Protocol: model.UDP, Backends: addrPorts(to, 8443), Via: "n1"},
		{Addr: join("2001:db8:1b::1", 443), Protocol: model.TCP, Backends: addrPorts(to6, 8443), Via: "n1"},
		{Addr: join("2001:db8:1b::1", 443), Protocol: model.UDP, Backends: addrPorts(to6, 8443), Via: "n1"},
	}
}

// becomeStopped waits until none of the packets arrives.
func (c *cluster) becomeStopped(tries ...try) {
	GinkgoHelper()
	Eventually(func() []string {
		arrive, _ := c.sort(tries)
		return arrive
	}, "3s").Should(BeEmpty(), "these arrive")
}

var _ = onEach(`The host endpoint "*"`, func(p *plane) {
	item := Label("issue11-4")
	closing := []string{"types: [Ingress]", "ingress:", "- {action: Deny, protocol: TCP, destination: {ports: [80, 22]}}"}
	stages := map[string][]string{
		"before translation": append([]string{"preDNAT: true", "applyOnForward: true"}, closing...),
		"untracked":          append([]string{"doNotTrack: true", "applyOnForward: true"}, closing...),
		// Only this one ends with the tier, in a Deny.
		"of what is forwarded": append(append([]string{"applyOnForward: true"}, closing...), "- {action: Allow}"),
	}
	for _, stage := range []string{"before translation", "untracked", "of what is forwarded"} {
		onBoth("guards interfaces of pods, "+stage, item, func(g ground) {
			c := g.raise(p, field()+hostEndpoint("all", 1, "*", "defaultAction: Allow")+
				hostPolicy("closing", "role == 'host'", stages[stage]...))
			tries := honest(tcp(free, loose, webPort), tcp(free6, loose6, webPort), tcp(free, outside, webPort), tcp(free6, far6, webPort), tcp(outside, free, webPort), tcp(far, free, webPort))
			if stage != "of what is forwarded" {
				tries = append(tries, honest(tcp(free, node1, webPort), tcp(free6, node1v6, webPort))...)
			} else {
				tries = append(tries, honest(tcp(free, loose, 22))...)
			}
			c.closes(tries...)
			c.passes(honest(udp(free, loose, dnsPort), udp(free6, node1v6, dnsPort), tcp(node1, free, webPort), tcp(node1v6, sealed6, webPort), udp(far, free, dnsPort))...)
			if stage != "of what is forwarded" {
				// A failsafe port, whatever is behind it.
				c.passes(honest(tcp(outside, node1, 22), tcp(free, node1, 22), tcp(free, loose, 22), tcp(outside6, free6, 22), tcp(free, far, 22))...)
			}
		})
	}

	onBoth("judges what pods ask of node ports and Services", item, func(g ground) {
		c := g.raise(p, field()+hostEndpoint("all", 1, "*", "defaultAction: Allow")+
			hostPolicy("closing", "role == 'host'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Deny, protocol: TCP, destination: {ports: [30080]}}"))
		Expect(c.lab.SetServices(nodePorts(far, far6)...)).To(Succeed())
		c.closes(honest(tcp(free, node1, 30080), tcp(free6, node1v6, 30080), tcp(outside, node1, 30080))...)
		c.passes(honest(tcp(free, far, 8080), tcp(outside, far, 8080))...)
	})
})

// nodePorts are ports of n1 that lead to a pod, for all that ask, n1 included.
func nodePorts(to, to6 string) []lab.Service {
	return []lab.Service{
		{Addr: join(node1, 30080), Protocol: model.TCP, Backends: addrPorts(to, 8080), Masquerade: true},
		{Addr: join(node1v6, 30080), Protocol: model.TCP, Backends: addrPorts(to6, 8080), Masquerade: true},
	}
}

// localNodePort has n1 translate its own packets to 127.0.0.1:30080, as kube-proxy
// does in mode iptables.
const localNodePort = `table ip local-node-port {
	chain output { type nat hook output priority -100; ip daddr 127.0.0.1 tcp dport 30080 dnat to ` + far + `:8080; }
	chain postrouting { type nat hook postrouting priority 100; ip saddr 127.0.0.1 ip daddr ` + far + ` masquerade; }
}
`

var _ = onEach("Egress of a host", func(p *plane) {
	onBoth("is denied by way of its own node ports too", Label("issue11-5"), func(g ground) {
		c := g.raise(p, field()+hostEndpoint("all", 1, "*", "defaultAction: Allow")+
			hostPolicy("closing", "role == 'host'", "types: [Egress]", "egress:", "- {action: Deny, destination: {selector: role == 'free'}}", "- {action: Allow}"))
		Expect(c.lab.SetServices(append(nodePorts(far, far6),
			lab.Service{Addr: join("10.96.0.30", 80), Protocol: model.TCP, Backends: addrPorts(far, 8080)},
			lab.Service{Addr: join(node1, 30081), Protocol: model.TCP, Backends: addrPorts(ally, 8080), Masquerade: true},
			lab.Service{Addr: join(node1, 30082), Protocol: model.TCP, Backends: addrPorts(free, 8080), Masquerade: true})...)).To(Succeed())
		c.load("n1", localNodePort)
		Expect(c.lab.Command("n1", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet").Run()).To(Succeed())
		local := try{text: "by 127.0.0.1", flow: model.Flow{Src: addr("127.0.0.1"), Dst: addr("127.0.0.1"), Protocol: model.TCP, DstPort: 30080},
			o: lab.Options{From: "n1", To: []string{where("far")}}}
		c.closes(append(honest(tcp(node1, far, 8080), tcp(node1, "10.96.0.30", 80), tcp(node1, node1, 30080), tcp(node1v6, node1v6, 30080)), local)...)
		c.passes(honest(tcp(node1, node1, 30081), tcp(node1, ally, 8080), tcp(node1, node1, 30082), tcp(node1, node1, 9999), tcp(node1v6, node1v6, 9999), tcp(node1, free, 8080), tcp(outside, far, 8080))...)
		c.passes(try{flow: model.Flow{Src: addr("127.0.0.1"), Dst: addr("127.0.0.1"), Protocol: model.TCP, DstPort: 9999}, o: lab.Options{From: "n1", To: []string{"n1"}}})
	})
})

var _ = onEach("DHCP", func(p *plane) {
	onBoth("goes on whatever policies close a node", Label("issue11-13"), func(g ground) {
		c := g.raise(p, field()+hostEndpoint("uplink", 1, "eth0")+hostPolicy("nothing", "role == 'host'", "types: [Ingress, Egress]"))
		iface, err := c.lab.WireInterface("n1")
		Expect(err).NotTo(HaveOccurred())
		near, gate := c.linkLocal(lab.Wire, iface), c.linkLocal("n1", "eth0")
		Expect(c.lab.Join(lab.Wire, iface, netip.MustParseAddr("ff02::1:2"))).To(Succeed())
		answer, answer6, relay6 := udp(outside, node1, 68), udp(near, gate, 546), udp(outside6, node1v6, 546)
		answer.SrcPort, answer6.SrcPort, relay6.SrcPort = 67, 547, 547
		ask, ask6, renew6 := udp(node1, outside, 67), udp(gate, "ff02::1:2", 547), udp(node1v6, outside6, 547)
		ask.SrcPort, ask6.SrcPort, renew6.SrcPort = 68, 546, 546
		tries := append(honest(answer, ask, relay6, renew6), c.fromWire(answer6)...)
		tries = append(tries, try{text: "n1", flow: ask6, o: lab.Options{From: "n1", Interface: "eth0", To: []string{lab.Wire}}})
		c.passes(tries...)
		c.run()
		c.passes(tries...)
		c.stops(append(honest(udp(outside, node1, 547), udp(outside6, node1v6, 547), udp(node1v6, outside6, 546)), c.fromWire(udp(near, gate, 99))...)...)
	})
})
