package dataplane

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// association is one of SCTP, of raw packets: connection tracking follows it as
// it follows one of sockets.
type association struct {
	c     *cluster
	there model.Flow // from who opened it
}

// Tags of the two ends: what the other one's packets bear.
const callerTag, calledTag = 0x1111, 0x2222

// associate opens an association from one address and port to another.
func associate(c *cluster, src, dst string) *association {
	GinkgoHelper()
	a := &association{c, model.Flow{Src: addr(src), Dst: addr(dst), Protocol: model.SCTP, SrcPort: 5000, DstPort: 99}}
	Expect(a.calls(lab.Chunk{Type: lab.ChunkInit, Initiate: callerTag})).To(BeTrue(), "INIT")
	Expect(a.answers(lab.Chunk{Type: lab.ChunkInitAck, Tag: callerTag, Initiate: calledTag})).To(BeTrue(), "INIT ACK")
	Expect(a.calls(lab.Chunk{Type: lab.ChunkCookieEcho, Tag: calledTag})).To(BeTrue(), "COOKIE ECHO")
	Expect(a.answers(lab.Chunk{Type: lab.ChunkCookieAck, Tag: callerTag})).To(BeTrue(), "COOKIE ACK")
	a.lives()
	return a
}

// send sends a chunk as part of the association and reports whether it arrives.
func (a *association) send(f model.Flow, k lab.Chunk) bool {
	GinkgoHelper()
	r, err := a.c.lab.Probe(context.Background(), f, lab.Options{Chunk: &k, KeepConnection: true})
	Expect(err).NotTo(HaveOccurred())
	return r.Delivered
}

func (a *association) calls(k lab.Chunk) bool {
	GinkgoHelper()
	return a.send(a.there, k)
}

func (a *association) answers(k lab.Chunk) bool {
	GinkgoHelper()
	f := a.there
	f.Src, f.Dst, f.SrcPort, f.DstPort = f.Dst, f.Src, f.DstPort, f.SrcPort
	return a.send(f, k)
}

// lives holds heartbeats of both ends to arrive.
func (a *association) lives() {
	GinkgoHelper()
	Expect(a.calls(lab.Chunk{Type: lab.ChunkHeartbeat, Tag: calledTag})).To(BeTrue(), "HEARTBEAT")
	Expect(a.answers(lab.Chunk{Type: lab.ChunkHeartbeatAck, Tag: callerTag})).To(BeTrue(), "HEARTBEAT ACK")
	Expect(a.answers(lab.Chunk{Type: lab.ChunkHeartbeat, Tag: callerTag})).To(BeTrue(), "HEARTBEAT of the called one")
	Expect(a.calls(lab.Chunk{Type: lab.ChunkHeartbeatAck, Tag: calledTag})).To(BeTrue(), "HEARTBEAT ACK of the caller")
}

// callers are pods that friends may be called by, and that call with SCTP.
func callers(rules ...string) string { return allow("callers", "friend", "Egress", rules...) }

// sctpOpen lets friends call guarded pods, by SCTP and UDP; sctpShut no more.
var (
	sctpOpen = callers("egress SCTP 99 guarded", "egress UDP 53 guarded") + allow("guarded", "guarded", "Ingress", "ingress SCTP 99 friend", "ingress UDP 53 friend")
	sctpShut = callers("egress TCP 80 guarded")
)

// ways are from friends to guarded pods: between nodes and on one, both families.
var ways = [][2]string{{friend, guarded}, {friend6, guarded6}, {friend, inner}, {ally6, guarded6}}

var _ = onEach("Cut flows without connections", func(p *plane) {
	item := Label("issue11-8")

	onBoth("of SCTP do not come back with a heartbeat of either side", item, func(g ground) {
		c := g.raise(p, strings.Replace(field(), friendsOnly, sctpOpen, 1))
		c.run()
		var all []*association
		for _, w := range ways {
			all = append(all, associate(c, w[0], w[1]))
		}
		c.apply(sctpShut)
		for _, a := range all {
			Eventually(func() bool { return a.calls(lab.Chunk{Type: lab.ChunkHeartbeat, Tag: calledTag}) }, 5*time.Second).Should(BeFalse(), "%v", a.there)
		}
		for range 2 {
			for _, a := range all {
				Expect(a.answers(lab.Chunk{Type: lab.ChunkHeartbeat, Tag: callerTag})).To(BeFalse(), "HEARTBEAT of the called one: %v", a.there)
				Expect(a.calls(lab.Chunk{Type: lab.ChunkHeartbeatAck, Tag: calledTag})).To(BeFalse(), "HEARTBEAT ACK of the caller: %v", a.there)
				Expect(a.calls(lab.Chunk{Type: lab.ChunkHeartbeat, Tag: calledTag})).To(BeFalse(), "HEARTBEAT: %v", a.there)
			}
		}
		// Allowed again, an association begins as associations do.
		c.apply(sctpOpen)
		for _, w := range ways {
			becomes(c.lab, model.Flow{Src: addr(w[0]), Dst: addr(w[1]), Protocol: model.SCTP, DstPort: 99}, true)
			associate(c, w[0], w[1])
		}
	})

	onBoth("of SCTP stay where nothing of theirs has changed, by all their addresses", item, func(g ground) {
		c := g.raise(p, strings.Replace(field(), friendsOnly, sctpOpen, 1))
		c.run()
		a := associate(c, friend, guarded)
		// The same pods have further paths: by IPv6 here, which begin with a heartbeat.
		path := &association{c, a.there}
		path.there.Src, path.there.Dst = addr(friend6), addr(guarded6)
		path.lives()
		// What selects neither of them.
		c.apply(allow("sealed", "sealed", "Ingress", "ingress TCP 81 friend"))
		becomes(c.lab, tcp(friend, sealed, 81), false) // the caller's egress says so
		becomes(c.lab, tcp(ally, sealed, 81), false)
		a.lives()
		path.lives()
		// A rule more for them.
		c.apply(callers("egress SCTP 99 guarded", "egress UDP 53 guarded", "egress TCP 80 guarded"))
		a.lives()
		path.lives()
		c.halt()
		c.run()
		a.lives()
		path.lives()
	})

	onBoth("of UDP do not come back with what the other side sends", item, func(g ground) {
		c := g.raise(p, strings.Replace(field(), friendsOnly, sctpOpen, 1))
		c.run()
		send := func(f model.Flow) bool {
			GinkgoHelper()
			r, err := c.lab.Probe(context.Background(), f, lab.Options{KeepConnection: true})
			Expect(err).NotTo(HaveOccurred())
			return r.Delivered
		}
		there := func(w [2]string) model.Flow {
			f := udp(w[0], w[1], dnsPort)
			f.SrcPort = 5001
			return f
		}
		back := func(w [2]string) model.Flow {
			f := udp(w[1], w[0], 5001)
			f.SrcPort = dnsPort
			return f
		}
		for _, w := range ways {
			for range 2 {
				Expect(send(there(w))).To(BeTrue())
				Expect(send(back(w))).To(BeTrue())
			}
		}
		c.apply(sctpShut)
		for _, w := range ways {
			Eventually(func() bool { return send(there(w)) }, 5*time.Second).Should(BeFalse(), "%v", w)
		}
		for range 2 {
			for _, w := range ways {
				Expect(send(back(w))).To(BeFalse(), "%v", w)
				Expect(send(there(w))).To(BeFalse(), "%v", w)
			}
		}
		// Another flow of the same two is no such thing: callers may be called.
		for _, w := range ways {
			f := back(w)
			f.SrcPort, f.DstPort = 6000, 6001
			Expect(send(f)).To(BeTrue(), "%v", w)
		}
	})
})
