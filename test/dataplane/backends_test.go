package dataplane

import (
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/lab"
)

// hint makes a variant of iptables the one that agents on a node find in use, as
// the kubelet does.
func hint(l *lab.Lab, node, variant string) {
	GinkgoHelper()
	out, err := l.Command(node, "iptables-"+variant, "-t", "mangle", "-N", "KUBE-KUBELET-CANARY").CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
}

// unhint takes a hint away.
func unhint(l *lab.Lab, node, variant string) {
	GinkgoHelper()
	out, err := l.Command(node, "iptables-"+variant, "-t", "mangle", "-X", "KUBE-KUBELET-CANARY").CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
}

// ours is what of Tierwall's is in a node's kernel, by data plane and variant.
func ours(l *lab.Lab, node string) []string {
	var out []string
	if tables, err := nft(l, node, "list", "tables"); err != nil || strings.Contains(tables, "inet tierwall") {
		out = append(out, "nftables")
	}
	for _, c := range []string{"iptables-legacy-save", "iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save"} {
		if rules, err := l.Command(node, c).Output(); err != nil || strings.Contains(string(rules), "TW-") {
			out = append(out, strings.TrimSuffix(c, "-save"))
		}
	}
	return out
}

var _ = Describe("Agents that program iptables", func() {
	for _, variant := range []string{"legacy", "nft"} {
		It("may be killed and given other policies under traffic: "+variant, SpecTimeout(time.Minute), func(ctx SpecContext) {
			dir := folder()
			l := bring(objects(world()))
			agents := map[string]*process{}
			for _, n := range nodes {
				hint(l, n, variant)
				agents[n] = launch(l, n, dir, "--dataplane", "iptables")
			}
			for _, n := range nodes {
				agents[n].ready()
				Expect(ours(l, n)).To(ConsistOf("iptables-"+variant, "ip6tables-"+variant))
			}
			t := start(l)
			for i := range 10 {
				put(dir, "servers.yaml", serversPolicy([]string{"ingress TCP 8888 intruder"}[i%2:]...))
				becomes(l, tcp(intruder, server, extraPort), i%2 == 0)
				put(dir, "more.yaml", pod("more", "client", i%2+1, "10.1.1.77"))
				if n := nodes[i/2%2]; i%3 == 0 {
					agents[n].kill()
					agents[n] = launch(l, n, dir, "--dataplane", "iptables")
				}
				t.goesOn(ctx, 1)
			}
			t.finish()
		})
	}

	It("take over from nftables and hand back, under traffic, with nothing left behind", SpecTimeout(time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		agents := map[string]*process{}
		turn := func(dataplane string, holds ...string) {
			GinkgoHelper()
			By(dataplane + " " + strings.Join(holds, " "))
			for _, n := range nodes {
				if agents[n] != nil {
					agents[n].kill()
				}
				agents[n] = launch(l, n, dir, "--dataplane", dataplane)
			}
			for _, n := range nodes {
				agents[n].ready()
				Expect(ours(l, n)).To(ConsistOf(holds))
			}
		}
		turn("auto", "nftables")
		t := start(l)
		for _, variant := range []string{"nft", "legacy"} {
			for _, n := range nodes {
				hint(l, n, variant)
			}
			turn("iptables", "iptables-"+variant, "ip6tables-"+variant)
			t.goesOn(ctx, 2)
			for _, n := range nodes {
				unhint(l, n, variant)
			}
		}
		turn("nftables", "nftables")
		t.goesOn(ctx, 2)
		turn("iptables", "iptables-nft", "ip6tables-nft")
		t.goesOn(ctx, 2)
		t.finish()
		for _, n := range nodes {
			agents[n].kill()
			self, err := os.Executable()
			Expect(err).NotTo(HaveOccurred())
			clean := l.Command(n, self, "agent", "--cleanup")
			clean.Env = append(os.Environ(), asTierwall+"=1")
			out, err := clean.CombinedOutput()
			Expect(err).NotTo(HaveOccurred(), string(out))
			Expect(ours(l, n)).To(BeEmpty())
		}
	})
})
