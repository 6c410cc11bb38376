package dataplane

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// lastProgram, set in the environment, names the test program of this package in
// the last version whose rules were laid out otherwise (before there were guards).
// Its agents then run in place of what they left in the kernels, which is in
// testdata/last, and what they leave now is written there.
const lastProgram = "TIERWALL_LAST"

// dumps are the commands that list what agents of a data plane leave in a kernel,
// and those that put it back, each in one transaction. DUMP stands for the list.
func (p *plane) dumps() []struct{ name, list, load string } {
	if p == byNFTables {
		return []struct{ name, list, load string }{{
			"nft", realNft + " list table inet tierwall", "{ echo table inet tierwall; echo delete table inet tierwall; cat DUMP; } | " + realNft + " -f -",
		}}
	}
	return []struct{ name, list, load string }{
		{"sets", "ipset save", "ipset -exist restore <DUMP"},
		{"rules", "IPTABLES-save -t filter", "IPTABLES-restore <DUMP"},
		{"rules6", "IP6TABLES-save -t filter", "IP6TABLES-restore <DUMP"},
	}
}

// last has a node's kernel hold what an agent of the last version leaves there.
func (p *plane) last(l *lab.Lab, node, dir string) {
	GinkgoHelper()
	data, err := filepath.Abs(filepath.Join("testdata", "last"))
	Expect(err).NotTo(HaveOccurred())
	program := os.Getenv(lastProgram)
	if program != "" {
		a := launchProgram(program, nil, l, node, dir, p.flags(l, node)...)
		a.ready()
		a.kill()
	}
	for _, d := range p.dumps() {
		file := filepath.Join(data, p.name+"-"+node+"."+d.name)
		if program == "" {
			p.must(l, node, strings.ReplaceAll(d.load, "DUMP", file))
			continue
		}
		text := p.must(l, node, d.list)
		var kept []string
		for _, line := range strings.SplitAfter(text, "\n") {
			if !strings.HasPrefix(line, "#") { // the time
				kept = append(kept, line)
			}
		}
		Expect(os.WriteFile(file, []byte(strings.Join(kept, "")), 0o600)).To(Succeed())
	}
}

var _ = onEach("Rules of the last version", func(p *plane) {
	It("give way to those of this one, and come back, under traffic", Label("issue11-upgrade"), SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		for _, n := range nodes {
			p.last(l, n, dir)
		}
		t := start(l)
		t.goesOn(ctx, 3)
		for range 3 {
			for _, n := range nodes {
				a := p.launch(l, n, dir)
				a.ready()
				Expect(ours(l, n)).To(ConsistOf(p.holds()))
				t.goesOn(ctx, 2)
				a.kill()
			}
			for _, n := range nodes {
				before := p.table(l, n)
				p.last(l, n, dir)
				Expect(p.table(l, n)).NotTo(Equal(before), "the rules are of one layout")
				t.goesOn(ctx, 2)
			}
		}
		t.finish()
	})
})
