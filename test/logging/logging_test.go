package logging

import (
	"fmt"
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// world is two nodes with a pod web and a pod db on the first, a pod far on the
// second, and policies that log and then deny.
func world(rate int) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: a}
spec: {podCIDRs: [10.0.1.0/24, "fd00:0:0:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: "2001:db8::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: b}
spec: {podCIDRs: [10.0.2.0/24, "fd00:0:0:2::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}, {type: InternalIP, address: "2001:db8::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: a, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.0.1.11}, {ip: "fd00:0:0:1::11"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: a, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.0.1.12}, {ip: "fd00:0:0:1::12"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: shop, labels: {app: far}}
spec: {nodeName: b, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.0.2.11}, {ip: "fd00:0:0:2::11"}]}
---
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {logging: {ratePerRule: %d}}
---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: security}
spec: {order: 10}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: guard-the-db}
spec:
  tier: security
  selector: app == 'db'
  ingress:
  - {action: Log, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [5432]}}
  - {action: Deny, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [5432]}}
  - {action: Log, protocol: UDP}
  - {action: Log, protocol: SCTP}
  - {action: Log, protocol: ICMP}
  - {action: Log, protocol: ICMPv6}
  - {action: Deny, source: {selector: app == 'web'}}
  - {action: Allow}
---
apiVersion: tierwall.io/v1alpha1
kind: NetworkPolicy
metadata: {name: far-out, namespace: shop}
spec:
  tier: security
  selector: app == 'far'
  types: [Egress]
  egress:
  - {action: Log, protocol: TCP}
  - {action: Allow, protocol: TCP, destination: {ports: [80]}}
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: a-all, labels: {role: node}}
spec: {node: a, interfaceName: "*"}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: hosts}
spec:
  tier: security
  selector: role == 'node'
  types: [Ingress, Egress]
  ingress:
  - {action: Log, destination: {notNets: [10.0.0.0/8]}}
  - {action: Log, destination: {notNets: ["fd00::/8"]}}
  - {action: Deny}
  egress:
  - {action: Allow}
`, rate)
}

const (
	web, db, far    = "10.0.1.11", "10.0.1.12", "10.0.2.11"
	web6, db6, far6 = "fd00:0:0:1::11", "fd00:0:0:1::12", "fd00:0:0:2::11"
	outside         = "203.0.113.9"
	outside6        = "2001:db8:ffff::9"
	guard           = "GlobalNetworkPolicy/guard-the-db"
	farOut          = "NetworkPolicy.tierwall.io/shop/far-out"
	hosts           = "GlobalNetworkPolicy/hosts"
)

// names of the addresses that somebody has.
var names = map[string]string{
	web: "Pod/shop/web", web6: "Pod/shop/web", db: "Pod/shop/db", db6: "Pod/shop/db", far: "Pod/shop/far", far6: "Pod/shop/far",
	"192.0.2.1": "Node/a", "2001:db8::1": "Node/a",
}

// cases are probes and what their lines say.
var cases = []struct {
	flow               model.Flow
	arrives            bool
	node, policy, rule string
	direction, hook    string
}{
	{flow(model.TCP, web, db, 5432), false, "a", guard, "0", "ingress", "forward"},
	{flow(model.TCP, web6, db6, 5432), false, "a", guard, "0", "ingress", "forward"},
	{flow(model.UDP, web, db, 53), false, "a", guard, "2", "ingress", "forward"},
	{flow(model.UDP, outside6, db6, 53), true, "a", guard, "2", "ingress", "forward"},
	{flow(model.SCTP, web, db, 99), false, "a", guard, "3", "ingress", "forward"},
	{flow(model.ICMPv4, web, db, 0), false, "a", guard, "4", "ingress", "forward"},
	{flow(model.ICMPv6, web6, db6, 0), false, "a", guard, "5", "ingress", "forward"},
	{flow(model.TCP, far, outside, 80), true, "b", farOut, "0", "egress", "forward"},
	{flow(model.TCP, far6, outside6, 443), false, "b", farOut, "0", "egress", "forward"},
	{flow(model.TCP, outside, "192.0.2.1", 8080), false, "a", hosts, "0", "ingress", "input"},
	{flow(model.UDP, outside6, "2001:db8::1", 8080), false, "a", hosts, "1", "ingress", "input"},
}

// quiet is longer than the kernel holds packets back, and than a rule waits to
// say what it left out.
const quiet = 1100 * time.Millisecond

// awake sends packets that are logged until a line of each node has come: the
// agents begin to read a moment after their kernels are up to date.
func (s *setup) awake() {
	GinkgoHelper()
	for _, n := range []struct {
		name string
		flow model.Flow
	}{{"a", flow(model.UDP, web, db, 1)}, {"b", flow(model.TCP, far, outside, 1)}} {
		Eventually(func() []string {
			s.probe(n.flow)
			var nodes []string
			for _, l := range s.paper.lines() {
				nodes = append(nodes, l.Node)
			}
			return nodes
		}).Should(ContainElement(n.name))
	}
	// What was sent comes within a flush of the kernel's; then nothing is under way.
	settled := -1
	Eventually(func() bool {
		n := len(s.paper.lines())
		same := n == settled
		settled = n
		return same
	}).WithPolling(quiet).Should(BeTrue())
	s.paper.clear()
}

var _ = onEach("Log rules", func(p plane) {
	for network, name := range map[lab.Network]string{lab.Routed: "routed", lab.Bridge: "bridged"} {
		It("make a line of each packet that names the rule, on "+name+" pods", func() {
			s := start(p, world(10_000), network)
			s.awake()
			for i, c := range cases {
				text := fmt.Sprintf("case %d: %+v", i, c.flow)
				Expect(s.probe(c.flow)).To(Equal(c.arrives), text)
				Eventually(s.paper.lines).Should(HaveLen(1), text)
				l := s.paper.lines()[0]
				Expect([]string{l.Msg, l.Node, l.Tier, l.Policy, l.Rule, l.Direction, l.Action, l.Hook}).To(
					Equal([]string{"packet", c.node, "security", c.policy, c.rule, c.direction, "Log", c.hook}), text)
				Expect([]any{l.Protocol, l.Source, l.Destination, l.DestinationPort}).To(
					Equal([]any{c.flow.Protocol.String(), c.flow.Src.String(), c.flow.Dst.String(), c.flow.DstPort}), text)
				Expect([]string{l.SourceName, l.DestinationName}).To(Equal([]string{names[l.Source], names[l.Destination]}), text)
				Expect(l.In).NotTo(BeEmpty(), text)
				Expect(l.Out == "").To(Equal(c.hook == "input"), text)
				if c.flow.Protocol.HasPorts() {
					Expect(l.SourcePort).NotTo(BeZero(), text)
				}
				s.paper.clear()
			}
			By("and none of what no Log rule matches")
			Expect(s.probe(flow(model.TCP, web, db, 80))).To(BeFalse())
			Expect(s.probe(flow(model.TCP, far, db, 80))).To(BeTrue()) // far's egress logs it
			Eventually(s.paper.lines).Should(HaveLen(1))
			Consistently(s.paper.lines, "300ms").Should(HaveLen(1))
			Expect(s.paper.lines()[0].Policy).To(Equal(farOut))
			for _, n := range []string{"a", "b"} {
				Expect(s.metric(n, "tierwall_logged_packets_suppressed_total", "", "")).To(BeZero())
				Expect(s.metric(n, "tierwall_logged_packets_lost_total", "", "")).To(BeZero())
			}
		})
	}

	It("write so many lines per second, count all of a flood, and say what they leave out", func() {
		const rate, sent = 5, 20_000
		s := start(p, world(rate), lab.Routed)
		s.awake()
		logged := func() float64 { return s.metric("a", "tierwall_logged_packets_total", "policy", guard) }
		left := func() float64 { return s.metric("a", "tierwall_logged_packets_suppressed_total", "policy", guard) }
		before, leftBefore := logged(), left()
		Expect(s.lab.Do("shop/web", func() error {
			c, err := net.Dial("udp", net.JoinHostPort(db, "7777"))
			if err != nil {
				return err
			}
			for range sent {
				if _, err := c.Write([]byte("flood")); err != nil {
					return err
				}
			}
			return c.Close()
		})).To(Succeed())
		lost := func() float64 { return s.metric("a", "tierwall_logged_packets_lost_total", "", "") }
		Eventually(func() float64 { return logged() + lost() }).Should(Equal(before + sent))

		By("the lines and those that were left out make up all")
		count := func() (lines, suppressed, summaries int) {
			for _, l := range s.paper.lines() {
				Expect([]string{l.Policy, l.Rule, l.Tier}).To(Equal([]string{guard, "2", "security"}))
				if l.Suppressed > 0 {
					Expect(l.Msg).To(Equal(fmt.Sprintf("%d more suppressed", l.Suppressed)))
					suppressed, summaries = suppressed+l.Suppressed, summaries+1
				} else {
					lines++
				}
			}
			return lines, suppressed, summaries
		}
		Eventually(func() int { lines, suppressed, _ := count(); return lines + suppressed }).Should(BeEquivalentTo(logged() - before))
		lines, suppressed, summaries := count()
		Expect(lines).To(BeNumerically(">=", 1))
		Expect(lines).To(BeNumerically("<=", rate*(summaries+1)))
		Expect(summaries).To(BeNumerically(">=", 1))
		Expect(left() - leftBefore).To(BeEquivalentTo(suppressed))
		AddReportEntry(fmt.Sprintf("%d packets: %d lines, %d suppressed in %d summaries, %v lost", sent, lines, suppressed, summaries, lost()))
	})
})
