package dataplane

import (
	"context"
	"net/netip"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// watchOver probes flows that must never get through, all the while.
func watchOver(l *lab.Lab, flows ...model.Flow) (end func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	var probes uint64
	var through []model.Flow
	var failed error
	go func() {
		defer close(done)
		for {
			for _, f := range flows {
				select {
				case <-quit:
					if probes >= uint64(len(flows)) { // each at least once, however short the watch
						return
					}
				default:
				}
				r, err := l.Probe(context.Background(), f, lab.Options{})
				if err != nil {
					failed = err
					return
				}
				probes++
				if r.Delivered {
					through = append(through, f)
				}
			}
		}
	}()
	return func() {
		GinkgoHelper()
		close(quit)
		<-done
		total.probes += probes
		total.through += uint64(len(through))
		Expect(failed).NotTo(HaveOccurred())
		Expect(through).To(BeEmpty())
	}
}

var _ = onEach("Pods that come and go", func(p *plane) {
	const fresh, moved = "10.1.2.50", "10.1.2.51"

	It("are policed from their first packet on", func() {
		c := found(p, world())
		for range 10 {
			// The pod is there before anybody has told the agent.
			Expect(c.lab.AddPod(lab.Pod{Namespace: "app", Name: "fresh", Node: "n2", Addrs: []netip.Addr{addr(fresh)}})).To(Succeed())
			end := watchOver(c.lab, tcp(client, fresh, closedPort), tcp(intruder, fresh, webPort), udp(outside, fresh, dnsPort))
			Expect(delivered(c.lab, tcp(client, fresh, webPort))).To(BeFalse(), "nobody knows it yet")
			Expect(delivered(c.lab, tcp(fresh, outside, webPort))).To(BeFalse(), "nobody knows it yet")
			c.apply(pod("fresh", "server", 2, fresh))
			becomes(c.lab, tcp(client, fresh, webPort), true)
			becomes(c.lab, tcp(fresh, outside, webPort), true)
			end()

			// Another address: unknown at first, and the old one is nobody's.
			Expect(c.lab.SetPodAddrs("app/fresh", []netip.Addr{addr(moved)})).To(Succeed())
			Expect(delivered(c.lab, tcp(client, moved, webPort))).To(BeFalse(), "nobody knows the address yet")
			end = watchOver(c.lab, tcp(client, moved, closedPort), tcp(intruder, moved, webPort))
			c.apply(pod("fresh", "server", 2, moved))
			becomes(c.lab, tcp(client, moved, webPort), true)
			Expect(delivered(c.lab, tcp(client, fresh, webPort))).To(BeFalse(), "the old address")
			end()

			Expect(c.lab.RemovePod("app/fresh")).To(Succeed())
			c.remove("Pod/app/fresh")
			becomes(c.lab, tcp(client, moved, webPort), false) // whoever has the address now
		}
	})

	It("do not inherit the rights of who had their address", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		c := found(p, world())
		s := openStream(c.lab, model.UDP, client, server, dnsPort)
		flows(ctx, s)
		// The server's address is another pod's from one moment to the next.
		c.remove("Pod/app/server")
		c.apply(pod("heir", "intruder", 2, server, server6))
		becomes(c.lab, tcp(client, server, webPort), false)
		_, err := s.WaitCut(ctx)
		Expect(err).NotTo(HaveOccurred())
		// And the client's rights are gone with its label.
		c.apply(pod("heir", "server", 2, server, server6))
		becomes(c.lab, tcp(client, server, webPort), true)
	})

	It("enter and leave the peers of others", func() {
		c := found(p, world())
		end := watchOver(c.lab, tcp(intruder, server, closedPort), tcp(intruder, near, extraPort))
		for range 20 {
			c.apply(pod("intruder", "client", 2, intruder, intruder6))
			becomes(c.lab, tcp(intruder, near, webPort), true)
			becomes(c.lab, tcp(intruder6, server6, webPort), true)
			c.apply(pod("intruder", "intruder", 2, intruder, intruder6))
			becomes(c.lab, tcp(intruder, near, webPort), false)
			becomes(c.lab, tcp(intruder6, server6, webPort), false)
		}
		end()
	})
})
