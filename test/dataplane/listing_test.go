package dataplane

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
)

// table is what of ours a node's kernel holds, whatever order it is listed in.
func (p *plane) table(l *lab.Lab, node string) string {
	if p == byNFTables {
		return nftTable(l, node)
	}
	var lines []string
	asked := map[string]bool{}
	for _, base := range []string{"iptables", "ip6tables"} {
		out, err := p.sh(l, node, p.command(base, "-save"))
		if err != nil {
			return err.Error()
		}
		for _, name := range setName.FindAllString(out, -1) {
			asked[name] = true
		}
		lines = append(lines, chainsOf(base, out)...)
	}
	out, err := p.sh(l, node, "ipset save")
	if err != nil {
		return err.Error()
	}
	lines = append(lines, setsOf(out, asked)...)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// nftTable lists our table of nftables.
func nftTable(l *lab.Lab, node string) string {
	out, err := nft(l, node, "-s", "list", "table", "inet", "tierwall")
	if err != nil {
		return err.Error()
	}
	// What is in the bar goes by time.
	words := strings.Fields(strings.ReplaceAll(barred.ReplaceAllString(out, "$1"), ",", " "))
	slices.Sort(words)
	return strings.Join(words, " ")
}

var (
	setName = regexp.MustCompile(`tw-[0-9a-z-]+-[0-9]+`)
	version = regexp.MustCompile(`(tw-[0-9a-z-]+)-[0-9]+`)
	peerSet = regexp.MustCompile(`^tw-4[an][0-9a-z]{16}-`)
	barred  = regexp.MustCompile(`(?s)(set bar[46] \{[^}]*?)elements = \{[^}]*\}`)
	tag     = regexp.MustCompile(` ?#[a-z0-9]{6}`)
)

// chainsOf returns a line for each chain of ours in what iptables-save has
// written, with its rules in order, and one for each jump to ours, with its
// place. A set is called the same whatever version of it is asked for.
func chainsOf(base, saved string) []string {
	chains := map[string]string{}
	places := map[string]int{}
	table := ""
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(tag.ReplaceAllString(version.ReplaceAllString(line, "$1"), ""))
		switch {
		case strings.HasPrefix(line, "*"):
			table = base + " " + line
			clear(places)
		case strings.HasPrefix(line, ":TW-"):
			chains[table+" "+strings.Fields(line)[0]] = ""
		case strings.HasPrefix(line, "-A TW-"):
			chain := strings.Fields(line)[1]
			chains[table+" :"+chain] += line[len("-A "+chain):] + ";"
		case strings.HasPrefix(line, "-A "):
			builtin := strings.Fields(line)[1]
			if strings.Contains(line, " -j TW-") || strings.Contains(line, " -g TW-") {
				chains[fmt.Sprintf("%s %s rule %d", table, builtin, places[builtin])] = line
			}
			places[builtin]++
		}
	}
	var out []string
	for name, rules := range chains {
		out = append(out, name+" "+rules)
	}
	return out
}

// setsOf returns a line for each set that rules ask for, and for each of its
// elements, in what ipset save has written.
func setsOf(saved string, asked map[string]bool) []string {
	var out []string
	for line := range strings.Lines(saved) {
		f := strings.Fields(line)
		if len(f) < 3 || !asked[f[1]] {
			continue
		}
		if strings.Contains(f[1], "bar-") && f[0] == "add" {
			continue // that goes by time
		}
		if f[0] == "create" {
			f = f[:min(len(f), 5)] // what follows is the kernel's business: how many buckets there are
		}
		f[1] = version.ReplaceAllString(f[1], "$1")
		out = append(out, strings.Join(f, " "))
	}
	return out
}

// peers returns the name of the set of a node's kernel that holds the client as a
// peer of the servers.
func (p *plane) peers(l *lab.Lab, node string) string {
	GinkgoHelper()
	return p.peersWith(l, node, client)
}

// peersWith returns the name of a set that holds an address as a peer.
func (p *plane) peersWith(l *lab.Lab, node, addr string) string {
	GinkgoHelper()
	if p != byNFTables {
		out := p.must(l, node, "ipset save")
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) == 3 && f[0] == "add" && f[2] == addr && peerSet.MatchString(f[1]) {
				return f[1]
			}
		}
		Fail("no set holds " + addr + ":\n" + out)
	}
	out, err := nft(l, node, "list", "table", "inet", "tierwall")
	Expect(err).NotTo(HaveOccurred())
	for _, block := range strings.Split(out, "\tset ") {
		if strings.HasPrefix(block, "s-") && strings.Contains(block, addr) {
			return strings.Fields(block)[0]
		}
	}
	Fail("no set holds " + addr + ":\n" + out)
	return ""
}
