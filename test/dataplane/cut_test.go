package dataplane

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
)

// openStream opens a connection that goes with the spec.
func openStream(l *lab.Lab, p model.Protocol, src, dst string, port uint16) *lab.Stream {
	GinkgoHelper()
	s, err := l.OpenStream(context.Background(), lab.StreamOptions{Protocol: p, Src: join(src, 0), Dst: join(dst, port), Rate: 100})
	Expect(err).NotTo(HaveOccurred())
	total.streams++
	DeferCleanup(s.Close)
	return s
}

// flows returns when a stream has sent a few more records, all echoed.
func flows(ctx context.Context, s *lab.Stream) {
	GinkgoHelper()
	before := s.Stats()
	after, err := s.WaitRecords(ctx, 5)
	Expect(err).NotTo(HaveOccurred())
	Expect(after.Err).NotTo(HaveOccurred())
	Expect(after.Lost()).To(Equal(before.Lost()))
	total.records += after.Sent - before.Sent
}

var _ = Describe("Established connections", func() {
	// Both ends are on nodes of their own, or share one; both families.
	ways := [][2]string{{client, server}, {client6, server6}, {client, near}, {client6, near6}}
	port := map[model.Protocol]uint16{model.TCP: webPort, model.UDP: dnsPort}

	for _, change := range []struct {
		text, forbids, allows string
	}{
		{"egress of the one that opened them", allow(clientRule, "client", "Ingress, Egress", "egress TCP 8080 server"), clientsPolicy()},
		{"ingress of the one that they lead to", allow(serverRules, "server", "Ingress", "ingress TCP 8080 client"), serversPolicy()},
		{"membership of the ones that they lead to", pod("near", "nobody", 1, near, near6) + pod("server", "nobody", 2, server, server6),
			pod("near", "server", 1, near, near6) + pod("server", "server", 2, server, server6)},
	} {
		It("are cut by a change of the "+change.text+", and no others", SpecTimeout(time.Minute), func(ctx SpecContext) {
			c := found(world() + mute)
			var cut, stay []*lab.Stream
			names := map[*lab.Stream]string{}
			for _, w := range ways {
				for p, n := range port {
					s := openStream(c.lab, p, w[0], w[1], n)
					cut, names[s] = append(cut, s), fmt.Sprint(p, w)
				}
			}
			// Nobody's policy forbids these.
			c.apply(elsewherePolicy(elsewhereA))
			becomes(c.lab, tcp(here, there, elsewhereA), true)
			stay = append(stay, openStream(c.lab, model.TCP, here, there, elsewhereA), openStream(c.lab, model.UDP, there, outside, dnsPort))
			for _, s := range append(cut, stay...) {
				flows(ctx, s)
			}
			c.apply(change.forbids)
			for _, s := range cut {
				stats, err := s.WaitCut(ctx)
				Expect(err).NotTo(HaveOccurred(), "%s: %+v", names[s], stats)
				// Neither way: the next records do not even arrive.
				after, err := s.WaitRecords(ctx, 5)
				Expect(err).NotTo(HaveOccurred())
				Expect(after.Arrived).To(Equal(stats.Arrived))
			}
			for _, s := range stay {
				flows(ctx, s)
				Expect(s.Stats().Lost()).To(BeZero())
			}
			// Allowed again, they go on by themselves.
			c.apply(change.allows)
			for _, s := range cut {
				_, err := s.Wait(ctx, func(t lab.StreamStats) bool { return t.Silent == 0 && t.Err == nil })
				Expect(err).NotTo(HaveOccurred())
			}
		})
	}

	It("have their replies, though the other side may open none", SpecTimeout(time.Minute), func(ctx SpecContext) {
		c := found(world())
		Expect(delivered(c.lab, tcp(server, client, webPort))).To(BeFalse())
		s := openStream(c.lab, model.UDP, client, server, dnsPort)
		flows(ctx, s)
		// The server may send nothing of its own any more: replies go on.
		c.apply(mute)
		becomes(c.lab, udp(server, outside, dnsPort), false)
		flows(ctx, s)
		Expect(s.Close().Lost()).To(BeZero())
	})
})
