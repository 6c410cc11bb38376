package iptables

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
)

// Render returns what a kernel that holds nothing of ours is told for a State: the
// sets as the command ipset reads them, then what iptables-restore --noflush and
// ip6tables-restore --noflush read. Deterministic.
func Render(s *dataplane.State, o Options) string {
	rs := generate(s, o.complete(), firstVersion)
	var b strings.Builder
	b.WriteString("# ipset restore\n" + renderSets(rs))
	p := planOf(newShape(), rs)
	fmt.Fprintf(&b, "\n# iptables-restore --noflush\n%s", p.restore[dataplane.IPv4])
	fmt.Fprintf(&b, "\n# ip6tables-restore --noflush\n%s", p.restore[dataplane.IPv6])
	return b.String()
}

func renderSets(rs *ruleset) string {
	var b strings.Builder
	for _, key := range sortedKeys(rs.sets) {
		s := rs.sets[key]
		family := "inet"
		if s.family == dataplane.IPv6 {
			family = "inet6"
		}
		most := fmt.Sprint(maxElems)
		if s.kind == typeFlows {
			most = fmt.Sprintf("%d timeout %d", dataplane.MaxBarred, barSeconds)
		}
		fmt.Fprintf(&b, "create %s %s family %s maxelem %s\n", s.name, s.kind, family, most)
		for _, e := range s.elems {
			fmt.Fprintf(&b, "add %s %s\n", s.name, e.text())
		}
	}
	return b.String()
}
