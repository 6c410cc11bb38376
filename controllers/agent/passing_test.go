package agent

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/dataplane/conntrack"
)

var _ = Describe("connections that pass the node", func() {
	const host = `
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: host, labels: {role: gate}}
spec: {node: node, interfaceName: "*", expectedIPs: [192.0.2.1], defaultAction: Allow}
`
	It("are cut by what this node's kernel is asked, wherever their ends are", func() {
		balanced := natConn("203.0.113.1:4000", "198.51.100.80:443", "10.0.0.1:80", "203.0.113.1:4000") // no object lists the address
		transit := conn("203.0.113.1:4001", "198.51.100.7:25")
		spared := conn("203.0.113.1:4002", "198.51.100.7:26")
		r := newRig(nil)
		r.table.Add(balanced, transit, spared)
		r.run()
		r.to.Update(objects(join(small, host)), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Lists).Should(BeNumerically(">=", 1))
		Expect(r.table.Deleted()).To(BeEmpty())
		r.to.Update(objects(`
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: early}
spec:
  selector: role == 'gate'
  preDNAT: true
  applyOnForward: true
  types: [Ingress]
  ingress: [{action: Deny, protocol: TCP, destination: {nets: [198.51.100.80/32]}}]
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: forwarded}
spec:
  selector: role == 'gate'
  applyOnForward: true
  types: [Ingress]
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [25]}}, {action: Allow}]
`), nil)
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(balanced, transit))
		Expect(r.table.Entries()).To(ConsistOf(spared))
	})

	It("are spared by an Allow before translation, whatever the forwarded packet looks like", func() {
		byPort := natConn("203.0.113.1:4000", "192.0.2.1:30000", "10.0.0.1:80", "203.0.113.1:4000")
		direct := conn("203.0.113.1:4001", "10.0.0.1:80")
		r := newRig(nil)
		r.table.Add(byPort, direct)
		r.run()
		r.to.Update(objects(join(small, host, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: node-ports}
spec:
  selector: role == 'gate'
  preDNAT: true
  applyOnForward: true
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [30000]}}]
`, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: nothing-else}
spec:
  selector: role == 'gate'
  applyOnForward: true
  types: [Ingress]
`)), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(Equal([]*conntrack.Entry{direct}))
		Expect(r.table.Entries()).To(ConsistOf(byPort))
	})
})
