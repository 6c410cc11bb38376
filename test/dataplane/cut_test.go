package dataplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
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

// connect opens a connection between two pods, and returns both its ends.
func connect(l *lab.Lab, from, to string) (caller, called *net.TCPConn) {
	GinkgoHelper()
	var listener net.Listener
	at := func(addr string, f func() error) {
		place, ok := l.Owner(netip.MustParseAddr(addr))
		Expect(ok).To(BeTrue())
		Expect(l.Do(place, f)).To(Succeed())
	}
	at(to, func() (err error) { listener, err = net.Listen("tcp", join(to, webPort).String()); return err })
	defer func() { _ = listener.Close() }()
	at(from, func() error {
		c, err := net.Dial("tcp", join(to, webPort).String())
		if err == nil {
			caller = c.(*net.TCPConn)
		}
		return err
	})
	c, err := listener.Accept()
	Expect(err).NotTo(HaveOccurred())
	called = c.(*net.TCPConn)
	DeferCleanup(func() { _, _ = caller.Close(), called.Close() })
	return caller, called
}

func say(c net.Conn, text string) {
	GinkgoHelper()
	_, err := c.Write([]byte(text))
	Expect(err).NotTo(HaveOccurred())
}

func hear(c net.Conn) string {
	GinkgoHelper()
	var b [64]byte
	n, err := c.Read(b[:])
	Expect(err).NotTo(HaveOccurred())
	return string(b[:n])
}

// pending is how many bytes wait to be read.
func pending(c *net.TCPConn) (n int) {
	GinkgoHelper()
	raw, err := c.SyscallConn()
	Expect(err).NotTo(HaveOccurred())
	Expect(raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })).To(Succeed())
	Expect(err).NotTo(HaveOccurred())
	return n
}

var _ = onEach("Established connections", func(p *plane) {
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
		It("are cut by a change of the "+change.text+", and no others", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
			c := found(p, world())
			var cut, stay []*lab.Stream
			names, tcps := map[*lab.Stream]string{}, map[*lab.Stream]bool{}
			for _, w := range ways {
				for proto, n := range port {
					s := openStream(c.lab, proto, w[0], w[1], n)
					cut, names[s], tcps[s] = append(cut, s), fmt.Sprint(proto, w), proto == model.TCP
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
				if tcps[s] { // is told so
					Expect(stats.Err).To(MatchError(unix.ECONNRESET), names[s])
					continue
				}
				// Neither way: the next records do not even arrive.
				after, err := s.WaitRecords(ctx, 5)
				Expect(err).NotTo(HaveOccurred())
				Expect(after.Arrived).To(Equal(stats.Arrived), names[s])
			}
			for _, s := range stay {
				flows(ctx, s)
				Expect(s.Stats().Lost()).To(BeZero())
			}
			// Allowed again, what has no connections goes on by itself.
			c.apply(change.allows)
			for _, s := range cut {
				if tcps[s] {
					continue
				}
				_, err := s.Wait(ctx, func(t lab.StreamStats) bool { return t.Silent == 0 && t.Err == nil })
				Expect(err).NotTo(HaveOccurred())
			}
		})
	}

	for _, at := range []string{server, server6} {
		It("do not come back from the side that was called, "+at, SpecTimeout(2*time.Minute), func(ctx SpecContext) {
			c := found(p, world())
			from := client
			if at == server6 {
				from = client6
			}
			caller, called := connect(c.lab, from, at)
			say(caller, "hello")
			Expect(hear(called)).To(Equal("hello"))
			say(called, "welcome")
			Expect(hear(caller)).To(Equal("welcome"))
			same := openStream(c.lab, model.TCP, from, at, webPort)
			c.apply(allow(serverRules, "server", "Ingress", "ingress TCP 8080 client"))
			_, err := same.WaitCut(ctx) // and with it the other
			Expect(err).NotTo(HaveOccurred())
			// For the kernel's tracking this packet would begin a connection, which
			// the server's policies allow.
			say(called, "are you there?")
			_, err = called.Read(make([]byte, 1))
			Expect(err).To(MatchError(unix.ECONNRESET))
			Expect(pending(caller)).To(BeZero(), "it has arrived")
		})
	}

	It("have their replies, though the other side may open none", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		c := found(p, world())
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
