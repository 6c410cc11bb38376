package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Where a table before routing differs and the filter table does too, the filter table
// has packets meet its old chains and then its new ones until the other table has
// changed. So whatever passes in between passes by all that held before, or by all that
// holds after: by what the other table says at that moment, and both of this one. A
// packet of which the other table says the same before and after passes all the time, if
// it passes before and after.

// again ends the names of new chains that stand beside old ones of the same name.
const again = "+"

// maxChain is what the kernel takes of a chain's name, in bytes.
const maxChain = 28

// meetBoth returns what has packets meet the chains that a filter table has and then
// those that it is to have, and what leaves it with these alone. Not ok: that cannot be,
// because somebody else has changed how built-in chains lead to ours.
func meetBoth(have *tableShape, want *table, early uint32) (both, then string, ok bool) {
	if have == nil || want == nil {
		return "", "", false
	}
	for builtin, hook := range want.hooks {
		if j := have.jumps[builtin]; len(j) != 1 || j[0] != (jump{0, hookText(hook), hook}) {
			return "", "", false
		}
	}
	// What the early tables have allowed, the new chains see as the old ones do.
	touched, twice := map[string]bool{}, map[string]bool{}
	var lines []string
	for _, c := range sortedKeys(have.chains) {
		for i, comment := range slices.Backward(have.chains[c]) {
			if comment == (rule{"", clearMark(early), ""}).tagged() || comment == (rule{isMarked(early), clearMark(early), ""}).tagged() {
				lines = append(lines, fmt.Sprintf("-D %s %d", c, i+1))
				touched[c], twice[c] = true, want.chains[c] != nil
			}
		}
		if want.chains[c] != nil && !slices.Equal(have.chains[c], want.tagsOf(c)) {
			twice[c] = true
		}
	}
	maps.DeleteFunc(twice, func(_ string, yes bool) bool { return !yes })
	leadThere(want, twice)
	after := newTableShape()
	maps.Copy(after.chains, have.chains)
	var declared, rules []string
	for _, c := range sortedKeys(want.chains) {
		name := c
		switch {
		case twice[c]:
			name += again
		case have.chains[c] != nil:
			continue
		}
		if _, there := have.chains[name]; there || len(name) > maxChain {
			return "", "", false
		}
		declared = append(declared, name)
		list := make([]rule, len(want.chains[c]))
		for i, r := range want.chains[c] {
			if to, flag := target(r); twice[to] {
				r.target = flag + " " + to + again
			}
			list[i] = r
			rules = append(rules, "-A "+name+" "+r.text())
		}
		after.chains[name] = tags(list)
	}
	for _, builtin := range sortedKeys(want.hooks) {
		hook := want.hooks[builtin]
		after.jumps[builtin] = slices.Clone(have.jumps[builtin])
		if twice[hook] {
			rules = append(rules, fmt.Sprintf("-I %s 2 %s", builtin, hookText(hook+again)))
			after.jumps[builtin] = append(after.jumps[builtin], jump{1, hookText(hook + again), hook + again})
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "*%s\n", tableFilter)
	for _, c := range declared {
		fmt.Fprintf(&text, ":%s - [0:0]\n", c)
	}
	for _, line := range slices.Concat(lines, rules) {
		text.WriteString(line + "\n")
	}
	text.WriteString("COMMIT\n")
	return text.String(), restoreTable(tableFilter, after, want, touched), true
}

// leadThere adds the chains of a table that lead to some.
func leadThere(t *table, chains map[string]bool) {
	from := map[string][]string{}
	for c, rules := range t.chains {
		for _, r := range rules {
			if to, _ := target(r); to != "" {
				from[to] = append(from[to], c)
			}
		}
	}
	for next := sortedKeys(chains); len(next) > 0; next = next[1:] {
		for _, c := range from[next[0]] {
			if !chains[c] {
				chains[c] = true
				next = append(next, c)
			}
		}
	}
}

// target is the chain to which a rule leads, and how; "" if it leads to none of ours.
func target(r rule) (chain, flag string) {
	flag, chain, _ = strings.Cut(r.target, " ")
	if flag != "-j" && flag != "-g" || !strings.HasPrefix(chain, chainPrefix) {
		return "", ""
	}
	return chain, flag
}
