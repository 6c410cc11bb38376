package dataplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// bringBridged builds the lab of objects with each node's pods on a bridge.
func bringBridged(manifests string) *lab.Lab {
	GinkgoHelper()
	spec, _, err := lab.FromObjects(objects(manifests))
	Expect(err).NotTo(HaveOccurred())
	spec.Network = lab.Bridge
	l, err := lab.New(context.Background(), spec)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(l.Close()).To(Succeed()) })
	return l
}

// dialFromNode opens a connection of a node's own to one of its pods, and returns
// both its ends.
func dialFromNode(l *lab.Lab, node, to string) (caller, called net.Conn) {
	GinkgoHelper()
	place, ok := l.Owner(addr(to))
	Expect(ok).To(BeTrue())
	var listener net.Listener
	Expect(l.Do(place, func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(addr(to), 0).String())
		return err
	})).To(Succeed())
	defer func() { _ = listener.Close() }()
	Expect(l.Do(node, func() (err error) {
		caller, err = net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
		return err
	})).To(Succeed())
	called, err := listener.Accept()
	Expect(err).NotTo(HaveOccurred())
	for _, c := range []net.Conn{caller, called} {
		Expect(c.SetDeadline(time.Now().Add(2 * time.Minute))).To(Succeed())
		DeferCleanup(func() { _ = c.Close() })
	}
	return caller, called
}

// talks fails unless a connection carries text both ways.
func talks(caller, called net.Conn) {
	GinkgoHelper()
	say(caller, "hello")
	Expect(hear(called)).To(Equal("hello"))
	say(called, "welcome")
	Expect(hear(caller)).To(Equal("welcome"))
}

var _ = onEach("The node's own connections to its pods, from addresses that its object does not list,", func(p *plane) {
	It("outlive a change of the pod's policy and a restart of the agent", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bringBridged(world())
		a := p.launch(l, "n1", dir)
		a.ready()
		var own [][2]net.Conn
		for _, pod := range []string{near, near6} {
			caller, called := dialFromNode(l, "n1", pod)
			from := netip.MustParseAddrPort(caller.LocalAddr().String()).Addr()
			Expect(fmt.Sprint(from)).NotTo(BeElementOf("192.0.2.1", "2001:db8::1"))
			talks(caller, called)
			own = append(own, [2]net.Conn{caller, called})
		}
		// Each change cuts another connection: then the agent has examined all.
		changes := []string{
			allow(serverRules, "server", "Ingress", "ingress TCP 8080 client"), // while the agent runs
			allow(serverRules, "server", "Ingress", "ingress TCP 8081 client"), // while it is down
		}
		for i, change := range changes {
			if i > 0 {
				put(dir, "servers.yaml", serversPolicy())
				becomes(l, tcp(client, near, webPort), true)
			}
			others := openStream(l, model.TCP, client, near, webPort)
			flows(ctx, others)
			if i > 0 {
				a.kill()
			}
			put(dir, "servers.yaml", change)
			if i > 0 {
				a = p.launch(l, "n1", dir)
			}
			_, err := others.WaitCut(ctx)
			Expect(err).NotTo(HaveOccurred())
			others.Close()
			for _, c := range own {
				talks(c[0], c[1])
			}
		}
	})
})
