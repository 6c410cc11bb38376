package dataplane

import (
	"net/netip"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// tunnel, tunnel6 are n2's addresses on the overlay, in n1's pod blocks.
const tunnel, tunnel6 = "10.1.1.200", "fd00:1:1::200"

// annotated is node n2 with an annotation.
func annotated(key, value string) string {
	return strings.Replace(node(2), "metadata: {name: n2}", "metadata: {name: n2, annotations: {"+key+": "+value+"}}", 1)
}

var _ = onEach("Addresses of nodes in other nodes' pod blocks", func(p *plane) {
	item := Label("issue11-11")

	onBoth("are no unknown workloads where a tunnel leads to them", item, func(g ground) {
		c := g.raise(p, field())
		Expect(c.lab.AddOverlay(lab.Overlay{Addrs: map[string][]netip.Addr{"n2": addrs(tunnel, tunnel6)}})).To(Succeed())
		c.run()
		c.passes(honest(tcp(tunnel, free, webPort), udp(tunnel6, free6, dnsPort), tcp(node1, tunnel, webPort), tcp(tunnel, node1, webPort), tcp(far, free, webPort))...)
		if g.network == lab.Routed { // on a bridge pods look for it on their link
			c.passes(honest(tcp(free, tunnel, webPort), udp(free6, tunnel6, dnsPort), ping(free, tunnel))...)
		}
		// To pods with policies they are nobody in particular.
		c.stops(honest(tcp(tunnel, sealed, webPort), tcp(tunnel6, inner6, webPort))...)
		// What is unknown is still unknown.
		c.stops(forged("n2", tcp("10.1.1.99", free, webPort), tcp("fd00:1:1::99", free6, webPort))...)
	})

	for key, value := range map[string]string{
		"projectcalico.org/IPv4VXLANTunnelAddr": tunnel,
		"projectcalico.org/IPv4IPIPTunnelAddr":  tunnel,
		"network.cilium.io/ipv4-health-ip":      tunnel,
		"network.cilium.io/ipv4-cilium-host":    tunnel,
	} {
		It("are no unknown workloads where "+key+" lists them", item, func() {
			g := ground{network: lab.Routed}
			c := g.raise(p, strings.Replace(field(), node(2), annotated(key, value), 1))
			Expect(c.lab.AddNodeAddr("n2", "tunl9", netip.MustParsePrefix(tunnel+"/32"))).To(Succeed())
			c.run()
			c.passes(honest(tcp(tunnel, free, webPort), tcp(free, tunnel, webPort), tcp(tunnel, node1, webPort))...)
			c.stops(honest(tcp(tunnel, sealed, webPort))...)
		})
	}
})

var _ = onEach("A pod that reaches itself by its Service", func(p *plane) {
	onBoth("is a pod to policies of administrators, and itself to others", Label("issue11-9"), func(g ground) {
		const noPods = `---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-pods}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {role: free}}}}
  ingress:
  - {name: no-pods, action: Deny, from: [{namespaces: {}}]}
`
		const nothing = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing, namespace: app}
spec: {podSelector: {matchLabels: {role: guarded}}, policyTypes: [Ingress, Egress]}
`
		c := g.raise(p, field()+noPods+nothing)
		for _, name := range []string{"free", "inner"} { // without it IPv4 refuses its own address as a source
			Expect(c.lab.Command(where(name), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/accept_local").Run()).To(Succeed())
		}
		services := []lab.Service{}
		for at, to := range map[string]string{"10.96.0.20": free, "fd00:96::20": free6, "10.96.0.21": inner, "fd00:96::21": inner6} {
			services = append(services, lab.Service{Addr: join(at, 80), Protocol: 6, Backends: addrPorts(to, 8080)})
		}
		Expect(c.lab.SetServices(services...)).To(Succeed())
		c.closes(honest(tcp(free, "10.96.0.20", 80), tcp(free6, "fd00:96::20", 80), tcp(loose, "10.96.0.20", 80), tcp(free, "10.96.0.21", 80))...)
		c.passes(honest(tcp(inner, "10.96.0.21", 80), tcp(inner6, "fd00:96::21", 80), tcp(outside, free, webPort))...)
	})

	onBoth("meets no host endpoint", Label("issue11-9", "issue11-hairpin"), func(g ground) {
		c := g.raise(p, field()+hostEndpoint("all", 1, "*", "defaultAction: Allow")+
			hostPolicy("through", "role == 'host'", "applyOnForward: true", "types: [Ingress, Egress]",
				"ingress:", "- {action: Deny, protocol: TCP, destination: {ports: [8080]}}", "- {action: Allow}",
				"egress:", "- {action: Deny, protocol: TCP, destination: {ports: [8080]}}", "- {action: Allow}"))
		for _, name := range []string{"free", "inner"} {
			Expect(c.lab.Command(where(name), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/accept_local").Run()).To(Succeed())
		}
		services := []lab.Service{}
		for at, to := range map[string]string{"10.96.0.20": free, "fd00:96::20": free6, "10.96.0.21": inner, "fd00:96::21": inner6} {
			services = append(services, lab.Service{Addr: join(at, 80), Protocol: 6, Backends: addrPorts(to, 8080)})
		}
		Expect(c.lab.SetServices(services...)).To(Succeed())
		c.run()
		c.passes(honest(tcp(free, "10.96.0.20", 80), tcp(free6, "fd00:96::20", 80), tcp(inner, "10.96.0.21", 80), tcp(inner6, "fd00:96::21", 80), tcp(free, loose, webPort))...)
		c.stops(honest(tcp(loose, "10.96.0.20", 80), tcp(free, loose, 8080), tcp(far6, free6, 8080), tcp(free, far, 8080))...)
	})
})
