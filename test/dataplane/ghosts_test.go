package dataplane

import (
	"context"
	"log/slog"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/startup"
	"github.com/tierwall/tierwall/lab"
)

// Pods whose addresses are in no node's block, as those of Calico's IPAM and of cloud
// networks are: without an object they are nobody's that is known.
const (
	roamer, roamer6   = "198.18.1.30", "fd00:9:1::30" // on n1; a security tier denies it all but a port
	citizen, citizen6 = "198.18.1.31", "fd00:9:1::31" // on n1; no policy selects it
	abroad, abroad6   = "198.18.2.30", "fd00:9:2::30" // on n2; denies pods that roam, and lets all others in
)

// ghostField is the two nodes with these pods and their policies.
func ghostField() string {
	return node(1) + node(2) + namespace + tier +
		pod("roamer", "roamer", 1, roamer, roamer6) + pod("citizen", "citizen", 1, citizen, citizen6) + pod("abroad", "abroad", 2, abroad, abroad6) +
		allow("roamers", "roamer", "Ingress, Egress", "ingress TCP 80 citizen", "egress TCP 80 citizen") +
		`---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: abroad}
spec:
  tier: platform
  order: 10
  selector: role == 'abroad'
  types: [Ingress]
  ingress:
  - {action: Deny, source: {selector: role == 'roamer'}}
  - {action: Allow}
`
}

// haunted has agents know the pods of their node as those of a cluster do.
func haunted(overlays map[string]*startup.Overlay) func(*agent.Options) (func(*agent.Agent), error) {
	return func(o *agent.Options) (func(*agent.Agent), error) {
		overlay, err := startup.New(startup.Options{Node: o.Node, Source: o.Source, Announcer: noAnnouncer{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		overlays[o.Node] = overlay
		o.Source, o.Links = overlay, overlay.Follow(o.Links)
		return func(a *agent.Agent) { overlay.Attach(a) }, nil
	}
}

// noAnnouncer announces nothing to other nodes.
type noAnnouncer struct{}

func (noAnnouncer) Announce([]v1alpha1.StartedPod)  {}
func (noAnnouncer) Announced(context.Context) error { return nil }

var _ = onEach("A pod whose object is gone", func(p *plane) {
	outgoing := honest(
		tcp(roamer, abroad, 80), udp(roamer, abroad, 53), tcp(roamer6, abroad6, 80), ping(roamer, abroad),
		tcp(roamer, citizen, 80), tcp(roamer, citizen, 22), tcp(roamer6, citizen6, 22), tcp(roamer, outside, 443), ping(roamer6, outside6),
	)
	incoming := honest(
		tcp(abroad, roamer, 80), tcp(citizen, roamer, 22), tcp(citizen6, roamer6, 80), tcp(outside, roamer, 80), udp(outside6, roamer6, 53),
	)

	onBoth("sends and gets nothing until its sandbox has stopped", Label("issue12-1"), func(g ground) {
		c := g.raise(p, ghostField())
		overlays := map[string]*startup.Overlay{}
		c.change = haunted(overlays)
		c.passes(outgoing...) // the network itself lets it
		c.passes(incoming...)
		c.run()
		c.passes(honest(tcp(roamer, citizen, 80), tcp(citizen, roamer, 80))...)
		c.stops(honest(tcp(roamer, abroad, 80), tcp(roamer, citizen, 22), tcp(roamer, outside, 443))...)

		By("the object goes by force, and its containers run on")
		c.remove("Pod/app/roamer")
		becomes(c.lab, tcp(roamer, citizen, 80), false) // it was allowed
		becomes(c.lab, tcp(roamer6, citizen6, 80), false)
		c.stops(outgoing...)
		c.stops(incoming...)
		c.passes(honest(tcp("192.0.2.1", roamer, 80), tcp(citizen, abroad, 80), tcp(citizen6, abroad6, 80), tcp(outside, citizen, 80))...)

		By("a pod of its name comes")
		c.apply(pod("roamer", "citizen", 2, "198.18.2.40"))
		c.stops(outgoing...)
		c.stops(incoming...)

		By("the agents restart: what the runtime lists is a ghost")
		c.remove("Pod/app/roamer")
		c.halt()
		c.stops(outgoing...)
		c.run()
		overlays["n1"].Running([]startup.Sandbox{{ID: "s1", Namespace: "app", Name: "roamer", UID: "u1", Addrs: addrs(roamer, roamer6), Running: true}})
		becomes(c.lab, tcp(roamer, abroad, 80), false)
		becomes(c.lab, tcp(roamer6, abroad6, 80), false) // iptables writes one family after the other
		c.stops(outgoing...)
		c.stops(incoming...)

		By("the runtime stops its sandbox: the address is nobody's that is known")
		overlays["n1"].Stopped(startup.Sandbox{ID: "s1"})
		if g.network == lab.Routed { // on a bridge of pods such addresses are denied
			becomes(c.lab, tcp(roamer, abroad, 80), true)
		}
	})

	onBoth("is one no more when a pod has its address", Label("issue12-1"), func(g ground) {
		c := g.raise(p, ghostField())
		c.change = haunted(map[string]*startup.Overlay{})
		c.run()
		c.remove("Pod/app/roamer")
		becomes(c.lab, tcp(roamer, citizen, 80), false)
		c.apply(pod("heir", "citizen", 1, roamer, roamer6))
		becomes(c.lab, tcp(roamer, abroad, 80), true)
		becomes(c.lab, tcp(roamer6, abroad6, 80), true)
		c.passes(honest(tcp(citizen, roamer, 22), tcp(outside, roamer, 80))...)
	})
})

var _ = Describe("Without ghosts", Label("issue12-1"), func() {
	// What the specs above are for: the agent alone takes the address for a stranger's.
	It("a pod whose object is gone loses all policy", func() {
		c := ground{}.raise(byNFTables, ghostField())
		c.run()
		c.stops(honest(tcp(roamer, abroad, 80))...)
		c.remove("Pod/app/roamer")
		becomes(c.lab, tcp(roamer, abroad, 80), true)
		Expect(delivered(c.lab, tcp(roamer, outside, 443))).To(BeTrue())
	})
})
