package dataplane

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// connections are established ones between two addresses.
type connections struct {
	port    uint16 // the next one to connect to
	streams []*lab.Stream
	names   map[*lab.Stream]string
}

// open opens a connection of TCP and one of UDP, to a port that no other has.
func (k *connections) open(c *cluster, src, dst string) {
	GinkgoHelper()
	k.port++
	k.openTo(c, src, dst, k.port)
}

// openTo opens a connection of TCP and one of UDP to a port.
func (k *connections) openTo(c *cluster, src, dst string, port uint16) {
	GinkgoHelper()
	if k.names == nil {
		k.names = map[*lab.Stream]string{}
	}
	for _, proto := range []model.Protocol{model.TCP, model.UDP} {
		s, err := c.lab.OpenStream(context.Background(), lab.StreamOptions{Protocol: proto, Src: join(src, 0), Dst: join(dst, port), Rate: 100})
		Expect(err).NotTo(HaveOccurred(), "%s %s %s", proto, src, dst)
		total.streams++
		DeferCleanup(s.Close)
		k.streams = append(k.streams, s)
		k.names[s] = fmt.Sprintf("%s %s > %s", proto, src, dst)
	}
}

// flow holds all of them to go on, none of whose records is lost.
func (k *connections) flow(ctx context.Context) {
	GinkgoHelper()
	for _, s := range k.streams {
		before := s.Stats()
		after, err := s.WaitRecords(ctx, 5)
		Expect(err).NotTo(HaveOccurred())
		Expect(after.Err).NotTo(HaveOccurred(), k.names[s])
		Expect(after.Lost()).To(Equal(before.Lost()), k.names[s])
	}
}

// areCut holds all of them to be cut soon.
func (k *connections) areCut(ctx context.Context) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var alive []string
	for _, s := range k.streams {
		if _, err := s.WaitCut(ctx); err != nil {
			alive = append(alive, k.names[s])
		}
	}
	Expect(alive).To(BeEmpty(), "these live on")
}

var _ = onEach("Connections of hosts", func(p *plane) {
	item := Label("issue11-7")
	open := hostEndpoint("all", 1, "*", "defaultAction: Allow")

	cases := []struct {
		text   string
		open   func(cut, stay *connections, c *cluster)
		policy string
		// denied is a new connection that the policy forbids.
		denied model.Flow
	}{
		{"to an address of a load balancer are cut by a Deny before translation", func(cut, stay *connections, c *cluster) {
			cut.openTo(c, outside, "198.51.100.1", 443)
			cut.openTo(c, outside6, "2001:db8:1b::1", 443)
			stay.open(c, outside, free)
			stay.open(c, far, free)
		}, hostPolicy("closing", "role == 'host'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Deny, source: {notNets: [10.1.0.0/16]}, destination: {nets: [198.51.100.1/32]}}", "- {action: Deny, destination: {nets: ['2001:db8:1b::1/128']}}"), tcp(outside, "198.51.100.1", 443)},
		{"that are forwarded between others are cut by a Deny on the way", func(cut, stay *connections, c *cluster) {
			cut.open(c, outside, beyond)
			cut.open(c, beyond6, outside6)
			stay.open(c, outside, beyond)
			stay.open(c, beyond6, free6)
		}, hostPolicy("closing", "role == 'host'", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Deny, protocol: TCP, destination: {ports: ['9000:9099']}}", "- {action: Deny, protocol: UDP, destination: {ports: ['9000:9099']}}", "- {action: Allow}"), tcp(beyond6, outside6, 9050)},
		{"to an address that no object lists are cut by a Deny of ingress", func(cut, stay *connections, c *cluster) {
			cut.open(c, outside, virtual)
			cut.open(c, outside6, virtual6)
			cut.open(c, node2, "172.17.0.1")
			stay.open(c, outside, virtual)
			stay.open(c, virtual, free)
		}, hostPolicy("closing", "role == 'host'", "types: [Ingress]", "ingress:", "- {action: Deny, protocol: TCP, destination: {ports: ['9000:9099']}}", "- {action: Deny, protocol: UDP, destination: {ports: ['9000:9099']}}", "- {action: Allow}"), tcp(outside6, virtual6, 9050)},
		{"from an address that no object lists are cut by a Deny of egress", func(cut, stay *connections, c *cluster) {
			cut.open(c, virtual, outside)
			cut.open(c, virtual6, far6)
			stay.open(c, virtual, outside)
			stay.open(c, virtual6, free6)
		}, hostPolicy("closing", "role == 'host'", "types: [Egress]", "egress:", "- {action: Deny, protocol: TCP, destination: {ports: ['9000:9099']}}", "- {action: Deny, protocol: UDP, destination: {ports: ['9000:9099']}}", "- {action: Allow}"), tcp(virtual, outside, 9050)},
	}
	for _, k := range cases {
		for _, n := range networks {
			It(k.text+", "+n.name, item, SpecTimeout(time.Minute), func(ctx SpecContext) {
				g := ground{network: n.network, spec: withBeyond}
				c := g.raise(p, field()+open)
				unlistedOfNode(c)
				Expect(c.lab.SetServices(balancers(free, free6)...)).To(Succeed())
				c.run()
				cut, stay := connections{port: 9000}, connections{port: 9100}
				k.open(&cut, &stay, c)
				cut.flow(ctx)
				stay.flow(ctx)
				c.apply(k.policy)
				becomes(c.lab, k.denied, false)
				cut.areCut(ctx)
				stay.flow(ctx)
			})
		}
	}
})

var _ = onEach("Connections of a node with its pods", func(p *plane) {
	for _, n := range networks {
		It("outlive changes of the pods' policies and agents, whatever the node's address, "+n.name, Label("issue11-10"), SpecTimeout(time.Minute), func(ctx SpecContext) {
			g := ground{network: n.network}
			c := g.raise(p, field())
			unlistedOfNode(c)
			c.run()
			k := connections{port: 9000}
			for _, src := range []string{node1, virtual, "172.17.0.1", "198.51.100.60"} {
				k.open(c, src, sealed)
				k.open(c, src, inner)
			}
			k.open(c, virtual6, sealed6)
			if g.network == lab.Bridge {
				k.open(c, "10.1.1.1", sealed)
				k.open(c, "fd00:1:1::1", inner6)
			}
			k.flow(ctx)
			// What has nothing to do with the node: friends may ask for a port more.
			c.apply(allow("sealed", "sealed", "Ingress", "ingress TCP 81 friend"))
			becomes(c.lab, tcp(friend, sealed, 81), true)
			k.flow(ctx)
			c.apply(allow("guarded", "guarded", "Ingress, Egress", "ingress TCP 80 friend"))
			becomes(c.lab, udp(friend, inner, dnsPort), false)
			k.flow(ctx)
			for range 3 {
				c.halt()
				c.run()
				k.flow(ctx)
			}
			// New ones, too.
			k.open(c, virtual, sealed)
			k.flow(ctx)
		})
	}
})
