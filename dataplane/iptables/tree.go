package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/naming"
)

// fanOut is how many rules a chain of a tree has at most. The kernel's nftables
// takes 16 levels of chains, so trees must be shallow; and a packet tries half of
// a chain's rules.
const fanOut = 16

// addrTree writes the chains by which an address is found among many, and returns
// the name of the first. leaf returns the rules for one address; flag is -s or -d. Addresses are of the generator's
// family, sorted and without duplicates. The name must be short: digits are added.
func (g *generator) addrTree(name, flag string, addrs []netip.Addr, leaf func(netip.Addr) []rule) string {
	t := tree{g: g, letter: chainPrefix + treeLetter(name), flag: flag, leaf: leaf}
	g.chain(name, t.rules(name, addrs)...)
	return name
}

// tree is how an address is found among many: chains of blocks lead
// on to the blocks within them, as evenly as the addresses lie, so that
// thousands of them cost a packet three or four chains.
type tree struct {
	g *generator
	// letter begins the names of the chains below the first.
	letter string
	flag   string
	// comment of the rules that lead to these chains.
	comment string
	leaf    func(netip.Addr) []rule
	// last ends each chain.
	last []rule
}

// rules returns those of the chain of a name and writes the chains that they lead to.
func (t *tree) rules(name string, addrs []netip.Addr) []rule {
	var rules []rule
	if len(addrs) <= fanOut {
		for _, a := range addrs {
			rules = append(rules, t.leaf(a)...)
		}
		return append(rules, t.last...)
	}
	parts := []part{{common(addrs), addrs}}
	for len(parts) < fanOut {
		slices.SortStableFunc(parts, func(a, b part) int { return len(b.addrs) - len(a.addrs) })
		if len(parts[0].addrs) == 1 {
			break
		}
		low, high := parts[0].split()
		parts = append(parts[1:], low, high)
	}
	slices.SortFunc(parts, func(a, b part) int { return a.net.Addr().Compare(b.net.Addr()) })
	for _, p := range parts {
		if len(p.addrs) == 1 {
			rules = append(rules, t.leaf(p.addrs[0])...)
			continue
		}
		// The block is the name: it stays the same when others come and go.
		child := t.letter + naming.Hash(name, p.net.String())
		t.g.chain(child, t.rules(child, p.addrs)...)
		rules = append(rules, rule{t.flag + " " + netText(p.net), "-g " + child, t.comment})
	}
	return append(rules, t.last...)
}

// treeLetter keeps apart, for people, the chains of the trees.
func treeLetter(name string) string { return name[len(chainPrefix):len(chainPrefix)+1] + "-" }

// part is a block and the addresses in it; the block is the smallest that has them all.
type part struct {
	net   netip.Prefix
	addrs []netip.Addr
}

// split cuts a part of two addresses at least in two.
func (p part) split() (low, high part) {
	bit := p.net.Bits() // the first in which they differ
	i := sort.Search(len(p.addrs), func(i int) bool {
		b := p.addrs[i].AsSlice()
		return b[bit/8]&(0x80>>(bit%8)) != 0
	})
	return part{common(p.addrs[:i]), p.addrs[:i]}, part{common(p.addrs[i:]), p.addrs[i:]}
}

// common is the smallest block that has all of some sorted addresses.
func common(addrs []netip.Addr) netip.Prefix {
	first, last := addrs[0], addrs[len(addrs)-1]
	a, b := first.AsSlice(), last.AsSlice()
	bits := 0
	for bits < first.BitLen() && (a[bits/8]^b[bits/8])&(0x80>>(bits%8)) == 0 {
		bits++
	}
	return netip.PrefixFrom(first, bits).Masked()
}

// portTree writes the chains by which a port is found among the entries of one
// protocol, which are sorted and leave no port out.
func (g *generator) portTree(name string, entries []dataplane.PortEntry, leaf func(match string, l *dataplane.Leaf) []rule) {
	var rules []rule
	step := 1
	for len(entries) > step*fanOut {
		step *= fanOut
	}
	for i := 0; i < len(entries); i += step {
		part := entries[i:min(i+step, len(entries))]
		m := fmt.Sprintf("-p %d -m multiport --dports %d:%d", part[0].Protocol, part[0].First, part[len(part)-1].Last)
		if len(part) == 1 {
			if part[0].First == part[0].Last {
				m = fmt.Sprintf("-p %d -m multiport --dports %d", part[0].Protocol, part[0].First)
			}
			rules = append(rules, leaf(m, &part[0].Leaf)...)
			continue
		}
		child := chainPrefix + "l-" + naming.Hash(name, fmt.Sprint(part[0].First))
		g.portTree(child, part, leaf)
		rules = append(rules, rule{m, "-g " + child, ""})
	}
	g.chain(name, rules...)
}
