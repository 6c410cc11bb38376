package dataplane

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// deed is something that somebody else does to what is ours.
type deed struct {
	text string
	// script that does it: of nft, or of sh with IPTABLES and IP6TABLES for the
	// commands of the plane's variant. PEERS is the set of the servers' clients,
	// OWN the address of the node's own server.
	script string
	// halted: the agent is halted meanwhile. Its repairs would come between the
	// steps of the script, the last of which needs what the first has left.
	halted bool
	// after, if not empty, must succeed when it is repaired: what is others' stays.
	after string
}

// deedsOnNFTables are done with nft.
var deedsOnNFTables = []deed{
	{text: "all tables of all", script: "flush ruleset"},
	{text: "our table", script: "delete table inet tierwall"},
	{text: "a base chain", script: "flush chain inet tierwall forward; delete chain inet tierwall forward"},
	{text: "a pod", script: "delete element inet tierwall ingress4 { OWN }"},
	{text: "a peer too many", script: "add element inet tierwall PEERS { " + intruder + " }"},
	{text: "a rule before ours", script: "insert rule inet tierwall forward accept"},
	{text: "a chain's rules", script: "flush chain inet tierwall forward6"},
	{text: "all rules", script: "flush table inet tierwall"},
	{text: "a peer", script: "delete element inet tierwall PEERS { " + client + " }"},
	{text: "all pods", script: "flush map inet tierwall egress4; flush set inet tierwall pods6"},
}

// deedsOnIPTables are done with iptables and ipset.
var deedsOnIPTables = []deed{
	{text: "all rules and chains of both families", script: "IPTABLES -F; IPTABLES -X; IP6TABLES -F; IP6TABLES -X"},
	{text: "all rules, chains and sets", halted: true, script: "for c in IPTABLES-restore IP6TABLES-restore; do printf '*raw\\nCOMMIT\\n*filter\\nCOMMIT\\n' | $c; done; " + destroyAll},
	{text: "a table as it was long ago", script: "printf '*filter\\nCOMMIT\\n' | IPTABLES-restore"},
	{text: "our jump", script: "IPTABLES -D FORWARD 1"},
	{text: "all of a built-in chain", script: "IP6TABLES -F FORWARD; IPTABLES -F INPUT"},
	{
		text: "a rule before ours", script: "IPTABLES -I FORWARD 1 -m comment --comment foreign -j ACCEPT",
		after: "IPTABLES -S FORWARD 2 | grep -q foreign; IPTABLES -D FORWARD 2",
	},
	{text: "a rule before those of a chain of ours", script: "IPTABLES -I TW-forward 1 -j RETURN"},
	{text: "a chain's rules", script: "IPTABLES -F TW-forward; IP6TABLES -F TW-ingress"},
	{text: "a rule", script: "IPTABLES -D TW-forward 2"},
	{text: "a peer too many", script: "ipset add PEERS " + intruder},
	{text: "a peer", script: "ipset del PEERS " + client},
	{text: "all members of all sets", script: "ipset flush"},
	{
		text: "a jump, and sets that cannot be destroyed", script: "IP6TABLES -D FORWARD 1; ! ipset destroy PEERS; ! ipset destroy",
		after: "ipset test PEERS " + client,
	},
}

// destroyAll destroys all sets: the kernel lets go of rules a little late.
const destroyAll = "for try in 1 2 3 4 5 6 7 8 9 10; do ipset destroy 2>/dev/null && break; sleep 0.02; done; test -z \"$(ipset list -n)\""

// deeds that are done to what this data plane keeps.
func (p *plane) deeds() []deed {
	switch p {
	case byNFTables:
		return deedsOnNFTables
	case byNFT:
		return append(deedsOnIPTables[:len(deedsOnIPTables):len(deedsOnIPTables)], deed{text: "all tables of all", script: "nft flush ruleset"})
	}
	return deedsOnIPTables
}

// do does something to a node.
func (p *plane) do(l *lab.Lab, node, script string) {
	GinkgoHelper()
	script = strings.ReplaceAll(script, "OWN", map[string]string{"n1": near, "n2": server}[node])
	if strings.Contains(script, "PEERS") {
		script = strings.ReplaceAll(script, "PEERS", p.peers(l, node))
	}
	if p != byNFTables {
		p.must(l, node, script)
		return
	}
	_, err := nft(l, node, script)
	Expect(err).NotTo(HaveOccurred())
}

var _ = onEach("Agents that are programs of their own", func(p *plane) {
	It("repair within a second what another program does to the rules, 20 times", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		agents := map[string]*process{}
		want := map[string]string{}
		for _, n := range nodes {
			agents[n] = p.launch(l, n, dir)
			agents[n].ready()
			want[n] = p.table(l, n)
		}
		t := start(l)
		deeds := p.deeds()
		done := map[string]int{}
		var slowest time.Duration
		late := 0
		for i := range max(20, len(deeds)) {
			n := nodes[i/len(deeds)]
			d := deeds[i%len(deeds)]
			By(n + ": " + d.text)
			done[n]++
			// What a look at the kernel takes now, on a machine that may be busy elsewhere.
			began := time.Now()
			p.table(l, n)
			look := time.Since(began)
			t.openWindow()
			began = time.Now()
			if d.halted {
				agents[n].halted(func() { p.do(l, n, d.script) })
			} else {
				p.do(l, n, d.script)
			}
			Eventually(func() string { return p.table(l, n) }).WithPolling(10*time.Millisecond).Should(Equal(want[n]), d.text)
			took := time.Since(began)
			t.closeWindow()
			if d.after != "" {
				p.do(l, n, d.after)
			}
			slowest = max(slowest, took)
			if took > time.Second+5*look {
				late++
			}
			// Packets go by the repaired rules now.
			t.goesOn(ctx, 1)
		}
		t.finish()
		AddReportEntry("slowest repair", slowest.String())
		// One repair of many may meet with a machine that is busy elsewhere.
		Expect(late).To(BeNumerically("<=", 2), "repairs that took more than a second; the slowest %s", slowest)
		for _, n := range nodes {
			Expect(agents[n].said("another program changed the kernel's rules")).To(BeNumerically(">=", done[n]), n)
		}
	})
})
