package iptables

import (
	"fmt"
	"strings"
	"time"

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
		what := fmt.Sprintf("family %s maxelem %d", family, maxElems)
		switch s.kind {
		case typeFlows:
			what = fmt.Sprintf("family %s maxelem %d timeout %d", family, dataplane.MaxBarred, barSeconds)
		case typeHold:
			what = fmt.Sprintf("range %d-%d timeout %d", dataplane.AnswerPort, dataplane.AnswerPort, dataplane.HoldTime/time.Second)
		}
		fmt.Fprintf(&b, "create %s %s %s\n", s.name, s.kind, what)
		for _, e := range s.elems {
			fmt.Fprintf(&b, "add %s %s\n", s.name, e.text())
		}
	}
	return b.String()
}
