package agent

import (
	"fmt"
	"net/netip"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/controllers/agent/answers"
	"github.com/tierwall/tierwall/policy/model"
)

// slice is an EndpointSlice of a Service, of the addresses' family.
func slice(service, name string, addrs ...string) string {
	namespace, service, _ := strings.Cut(service, "/")
	family, endpoints := "IPv4", ""
	for _, a := range addrs {
		if strings.Contains(a, ":") {
			family = "IPv6"
		}
		endpoints += fmt.Sprintf("- {addresses: [%q]}\n", a)
	}
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, namespace: %s, labels: {kubernetes.io/service-name: %s}}
addressType: %s
ports: [{name: dns, port: 53, protocol: UDP}]
endpoints:
%s`, name, namespace, service, family, endpoints)
}

var _ = Describe("The DNS servers that count where nothing names any", func() {
	text := join(world, pod("web", "10.0.0.1"), reaching("names", "web", "*.example"))
	const dns = "kube-system/kube-dns"
	servers := func(list ...string) []netip.Addr {
		var out []netip.Addr
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	gone := func(name string) []model.Ref { return []model.Ref{ref("EndpointSlice/kube-system/" + name)} }

	It("are the endpoints of the cluster's DNS Services, as they come, change and go", func() {
		r, queue := namesRig(nil)
		learns := func(name, addr string) bool {
			GinkgoHelper()
			Eventually(queue.Send(dnsAnswer(name, 60, addr))[0]).Should(BeClosed())
			for {
				select {
				case c := <-r.backend.Done:
					Expect(c.Err).NotTo(HaveOccurred())
					continue
				default:
				}
				for _, a := range byName(r.backend.World()) {
					if a == addr {
						return true
					}
				}
				return false
			}
		}
		r.to.Update(objects(join(text, slice(dns, "dns-1", "10.96.0.10"), slice("default/web", "web-1", "10.0.9.9"))), nil)
		r.to.Synced()
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.96.0.10")))
		Expect(learns("a.example", "198.51.100.1")).To(BeTrue())

		By("another slice, of the other family")
		r.to.Update(objects(slice(dns, "dns-2", "fd00::10", "fd00::11")), nil)
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.96.0.10", "fd00::10", "fd00::11")))

		By("a Service under another name that distributions use")
		r.to.Update(objects(slice("openshift-dns/dns-default", "os-1", "10.0.7.7")), nil)
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.0.7.7", "10.96.0.10", "fd00::10", "fd00::11")))

		By("an endpoint that is replaced: the former one brings nothing any more")
		r.to.Update(objects(slice(dns, "dns-1", "10.0.8.8")), nil)
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.0.7.7", "10.0.8.8", "fd00::10", "fd00::11")))
		Expect(learns("b.example", "198.51.100.2")).To(BeFalse())
		Expect(byName(r.backend.World())).To(ConsistOf("198.51.100.1"), "what it has brought stays")

		By("the former one again")
		r.to.Update(objects(slice(dns, "dns-1", "10.96.0.10")), nil)
		r.next()
		Expect(learns("c.example", "198.51.100.3")).To(BeTrue())

		By("servers that the settings name: the Services count no more")
		r.to.Update(objects(strings.Replace(dnsSettings, "10.96.0.10", "10.0.6.6", 1)), nil)
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.0.6.6")))
		r.to.Update(nil, []model.Ref{ref("Tierwall/default")})
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.0.7.7", "10.96.0.10", "fd00::10", "fd00::11")))

		By("slices that go, and with the last one all servers")
		r.to.Update(nil, gone("dns-2"))
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.0.7.7", "10.96.0.10")))
		r.to.Update(nil, append(gone("dns-1"), ref("EndpointSlice/openshift-dns/os-1")))
		Expect(r.next().World.Answers.Servers).To(BeEmpty())
		Expect(learns("d.example", "198.51.100.4")).To(BeFalse())
	})

	It("are found where the endpoints come after the rule, and nothing waits for others' slices", func() {
		r, _ := namesRig(nil)
		r.to.Update(objects(text), nil)
		r.to.Synced()
		Expect(r.next().World.Answers.Servers).To(BeEmpty())
		r.to.Update(objects(join(slice("shop/kube-dns", "imposter", "10.0.0.66"), slice(dns, "dns-1", "10.96.0.10"))), nil)
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.96.0.10")), "not those of a Service of that name elsewhere")
	})

	It("are the node's own resolvers and its DNS cache, too", func() {
		r, _ := namesRig(func(*Options, *answers.Options) {})
		r.opts.Names.Resolvers = func() []netip.Addr { return servers("192.0.2.53", "10.96.0.10") }
		r.to.Update(objects(join(text, slice(dns, "dns-1", "10.96.0.10"))), nil)
		r.to.Synced()
		Expect(r.next().World.Answers.Servers).To(Equal(servers("10.96.0.10", "192.0.2.53")))
	})
})
