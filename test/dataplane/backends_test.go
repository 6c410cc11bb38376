package dataplane

import (
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("Agents that are given another data plane", func() {
	It("take over and hand back, under traffic, with nothing left behind", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		agents := map[string]*process{}
		turn := func(flag string, to *plane) {
			GinkgoHelper()
			By(flag + " " + strings.Join(to.holds(), " "))
			for _, n := range nodes {
				if agents[n] != nil {
					agents[n].kill()
				}
				agents[n] = launch(l, n, dir, "--dataplane", flag)
			}
			for _, n := range nodes {
				agents[n].ready()
				Expect(ours(l, n)).To(ConsistOf(to.holds()))
			}
		}
		turn("auto", byNFTables)
		t := start(l)
		for _, p := range []*plane{byNFT, byLegacy} {
			for _, n := range nodes {
				hint(l, n, p)
			}
			turn("iptables", p)
			t.goesOn(ctx, 2)
			for _, n := range nodes {
				unhint(l, n, p)
			}
		}
		turn("nftables", byNFTables)
		t.goesOn(ctx, 2)
		turn("iptables", byNFT)
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
