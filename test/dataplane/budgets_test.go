package dataplane

import (
	"fmt"
	"net/netip"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// budgets are settings of budgets in entries.
func budgets(namespace, node int) string {
	return fmt.Sprintf(`---
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {budgets: {mode: Enforce, namespace: %d, node: %d}}
`, namespace, node)
}

const tenants = `---
apiVersion: v1
kind: Namespace
metadata: {name: tenant}
`

// tenant is a pod of a namespace of its own, on n2.
func tenant(name, address string) string {
	return strings.Replace(pod(name, name, 2, address), "namespace: app", "namespace: tenant", 1)
}

// lets is a tenant's policy that lets a pod of another namespace and so many other addresses in to a pod,
// at webPort: of a minute of its own, which says how old it is.
func lets(name string, minute, more int) string {
	from := []string{"{ipBlock: {cidr: " + here + "/32}}"}
	for i := range more {
		from = append(from, fmt.Sprintf("{ipBlock: {cidr: 198.51.%d.%d/32}}", i>>8, i&255))
	}
	return fmt.Sprintf(`---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: tenant, name: %s, creationTimestamp: "2026-01-01T00:%02d:00Z"}
spec:
  podSelector: {matchLabels: {role: %s}}
  ingress: [{from: [%s], ports: [{port: %d}]}]
`, name, minute, name, strings.Join(from, ", "), webPort)
}

var _ = onEach("A tenant who fills a budget", func(p *plane) {
	const first, second, third = "10.1.2.60", "10.1.2.61", "10.1.2.62"
	item := Label("issue12-2")

	add := func(c *cluster, name, address string) {
		GinkgoHelper()
		Expect(c.lab.AddPod(lab.Pod{Namespace: "tenant", Name: name, Node: "n2", Addrs: []netip.Addr{addr(address)}})).To(Succeed())
		c.apply(tenant(name, address))
	}
	// other has another namespace's policy change, there and back.
	other := func(c *cluster) {
		GinkgoHelper()
		for _, port := range []int{elsewhereB, elsewhereA} {
			c.apply(elsewherePolicy(port))
			becomes(c.lab, tcp(here, there, uint16(port)), true)
		}
	}

	It("of a namespace is denied by what is past it, and nobody else is", item, func() {
		c := found(p, world()+tenants+budgets(40, 100_000))
		add(c, "first", first)
		c.apply(lets("first", 1, 10))
		becomes(c.lab, tcp(here, first, webPort), true)
		becomes(c.lab, tcp(intruder, first, webPort), false)

		add(c, "second", second)
		becomes(c.lab, tcp(here, second, webPort), true) // no policy of its own
		end := watchOver(c.lab, tcp(intruder, first, webPort), tcp(here, first, closedPort))
		c.apply(lets("second", 2, 60))
		becomes(c.lab, tcp(here, second, webPort), false)
		becomes(c.lab, tcp(here, first, webPort), true)
		other(c)

		// A new version past it: what is in force stays.
		c.apply(lets("first", 1, 100))
		other(c)
		becomes(c.lab, tcp(here, first, webPort), true)
		end()

		c.remove("NetworkPolicy/tenant/first")
		becomes(c.lab, tcp(intruder, first, webPort), true)
		Expect(delivered(c.lab, tcp(here, second, webPort))).To(BeFalse(), "still past it alone")
		c.apply(lets("second", 2, 20))
		becomes(c.lab, tcp(here, second, webPort), true)
		becomes(c.lab, tcp(intruder, second, webPort), false)
	})

	It("of a node has its new pods denied, and nobody else's", item, func() {
		c := found(p, world()+tenants+budgets(1000, 40)+lets("first", 1, 10)+lets("second", 1, 10)+lets("third", 1, 10))
		add(c, "first", first)
		add(c, "second", second)
		becomes(c.lab, tcp(here, first, webPort), true)
		becomes(c.lab, tcp(here, second, webPort), true)
		add(c, "third", third)
		other(c)
		Expect(delivered(c.lab, tcp(here, third, webPort))).To(BeFalse())
		Expect(delivered(c.lab, tcp(third, outside, webPort))).To(BeFalse())
		Expect(delivered(c.lab, tcp(here, first, webPort))).To(BeTrue())

		Expect(c.lab.RemovePod("tenant/first")).To(Succeed())
		c.remove("Pod/tenant/first")
		becomes(c.lab, tcp(here, third, webPort), true)
		becomes(c.lab, tcp(intruder, third, webPort), false)
	})
})
