package dataplane

import (
	"fmt"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/model"
)

// marker is a table of somebody else's that marks all packets before our hooks
// and counts behind them those that still bear exactly this mark.
func marker(mark uint32) string {
	return fmt.Sprintf(`table inet marker
delete table inet marker
table inet marker {
	counter kept { }
	counter lost { }
	chain judge {
		meta l4proto != { tcp, udp } return
		meta mark %#[1]x counter name kept return
		counter name lost
	}
	chain prerouting { type filter hook prerouting priority -310; meta mark set %#[1]x; }
	chain raw-output { type route hook output priority -310; meta mark set %#[1]x; }
	chain input { type filter hook input priority 200; jump judge; }
	chain forward { type filter hook forward priority 200; jump judge; }
	chain postrouting { type filter hook postrouting priority 200; jump judge; }
}
`, mark)
}

var packetsOf = regexp.MustCompile(`counter (kept|lost) \{\s*packets (\d+)`)

// marks returns how many packets have kept and lost their marks on a node.
func (c *cluster) marks(node string) map[string]string {
	GinkgoHelper()
	out, err := nft(c.lab, node, "list", "counters", "table", "inet", "marker")
	Expect(err).NotTo(HaveOccurred())
	counts := map[string]string{}
	for _, m := range packetsOf.FindAllStringSubmatch(strings.ReplaceAll(out, "\t", " "), -1) {
		counts[m[1]] = m[2]
	}
	return counts
}

var _ = onEach("Marks of others", func(p *plane) {
	item := Label("issue11-15")
	// Every way of packets through a node.
	unjudged := []model.Flow{tcp(free, far, webPort), udp(free6, far6, dnsPort), tcp(free, loose, webPort), tcp(outside, free, webPort), tcp(free, outside, webPort),
		tcp(free, node1, webPort), tcp(outside, node1, webPort), udp(outside6, node1v6, dnsPort), tcp(node1, outside, webPort), tcp(node1, free, webPort), udp(node1v6, outside6, 99)}
	judged := []model.Flow{tcp(friend, guarded, webPort), udp(friend6, guarded6, dnsPort), tcp(friend, inner, webPort), tcp(ally, inner, webPort), tcp(node1, sealed, webPort)}

	// Cilium's, all bits, ours alone, one of ours.
	for _, mark := range []uint32{0x7fff0f00, 0xffffffff, 0x30000000, 0x10000000, 0x00000f00} {
		onBoth(fmt.Sprintf("stay on packets that meet no policy, %#x", mark), item, func(g ground) {
			c := g.raise(p, field())
			c.load("n1", marker(mark))
			c.passes(honest(unjudged...)...)
			Expect(c.marks("n1")).To(HaveKeyWithValue("lost", "0"))
			c.run()
			c.load("n1", marker(mark))
			c.passes(honest(unjudged...)...)
			Expect(c.marks("n1")).To(And(HaveKeyWithValue("lost", "0"), Not(HaveKeyWithValue("kept", "0"))))
		})
	}

	for _, mark := range []uint32{0x4fff0f00, 0x00000f00, 0xcfffffff} {
		onBoth(fmt.Sprintf("but for two bits stay on packets that meet policies, %#x", mark), item, func(g ground) {
			c := g.raise(p, field()+hostEndpoint("host", 1, "*", "defaultAction: Allow")+
				hostPolicy("early", "role == 'host'", "preDNAT: true", "applyOnForward: true", "types: [Ingress]", "ingress:", "- {action: Allow, protocol: TCP, destination: {ports: [80]}}"))
			c.run()
			c.load("n1", marker(mark))
			c.passes(honest(append(unjudged[:len(unjudged):len(unjudged)], judged...)...)...)
			Expect(c.marks("n1")).To(And(HaveKeyWithValue("lost", "0"), Not(HaveKeyWithValue("kept", "0"))))
		})
	}

	onBoth("open nothing", item, func(g ground) {
		c := g.raise(p, field())
		tries := honest(tcp(outside, sealed, webPort), tcp(free, sealed, webPort), tcp(muted, far, webPort), udp(loose6, inner6, dnsPort), tcp(muted6, node1v6, webPort))
		c.load("n1", marker(0xffffffff))
		c.closes(tries...)
		for _, mark := range []uint32{0x10000000, 0x20000000, 0x30000000, 0x7fff0f00} {
			c.load("n1", marker(mark))
			c.stops(tries...)
		}
	})
})
