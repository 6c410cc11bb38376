package dataplane

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// String is the program as text, complete, for goldens and people.
func (p *Program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.Family)
	for i := range p.Segments {
		s := &p.Segments[i]
		fmt.Fprintf(&b, "tier %s\n", s.Tier)
		if s.Table != nil {
			s.Table.append(&b)
		} else {
			appendRules(&b, s.Rules)
		}
		fmt.Fprintf(&b, "  end: %s\n", s.End.text())
	}
	fmt.Fprintf(&b, "default: %s\n", p.Default.text())
	return b.String()
}

func (t *Table) append(b *strings.Builder) {
	side := "source"
	if t.Side == CondDstAddr {
		side = "destination"
	}
	fmt.Fprintf(b, "  table by %s\n", side)
	for i, s := range t.Sets {
		fmt.Fprintf(b, "    %d = @%s\n", i, s.ID)
	}
	for i := range t.rules {
		tr := &t.rules[i]
		fmt.Fprintf(b, "    in %v", tr.in)
		if len(tr.out) > 0 {
			fmt.Fprintf(b, " not in %v", tr.out)
		}
		b.WriteString(":")
		r := tr.remainder()
		appendRule(b, &r)
	}
}

func appendRules(b *strings.Builder, rules []Rule) {
	for i := range rules {
		b.WriteString(" ")
		appendRule(b, &rules[i])
	}
}

func appendRule(b *strings.Builder, r *Rule) {
	for _, c := range r.Conds {
		b.WriteString(" ")
		b.WriteString(c.String())
	}
	fmt.Fprintf(b, " %s\n", r.Leaf.text())
}

func (l *Leaf) text() string {
	var b strings.Builder
	for _, m := range l.Before {
		fmt.Fprintf(&b, "mark[%s log=%v] ", m.Origin, m.Log)
	}
	b.WriteString(l.Verdict.String())
	if l.Log {
		b.WriteString(" log")
	}
	if l.Origin != (Origin{}) {
		fmt.Fprintf(&b, " [%s]", l.Origin)
	}
	return b.String()
}

// String is "Policy direction rule Action in tier T": what comments in the
// kernel and log prefixes say.
func (o Origin) String() string {
	if g, counted, ok := o.Guard(); ok {
		if counted {
			return "guard " + string(g) + ", counted only"
		}
		return "guard " + string(g)
	}
	s := fmt.Sprintf("%s %s %s %s in tier %s", o.Policy, o.Direction, o.Rule, o.Action, o.Tier)
	if o.Audit {
		s += " audit"
	}
	return s
}

// String is the condition as text.
func (c Cond) String() string {
	var s string
	switch c.Kind {
	case CondProtocol:
		s = "protocol " + c.Protocol.String()
	case CondICMP:
		s = fmt.Sprintf("icmp type %d", c.Type)
		if c.HasCode {
			s += fmt.Sprintf(" code %d", c.Code)
		}
	case CondSrcPorts:
		s = "sport " + portsText(c.Ports)
	case CondDstPorts:
		s = "dport " + portsText(c.Ports)
	case CondSrcAddr:
		s = "saddr @" + c.Set.ID
	case CondDstAddr:
		s = "daddr @" + c.Set.ID
	case CondSrcAddrPort:
		s = "saddr,sport @" + c.Set.ID
	case CondDstAddrPort:
		s = "daddr,dport @" + c.Set.ID
	}
	if c.Not {
		return "not(" + s + ")"
	}
	return s
}

func portsText(rs []PortRange) string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = model.Port{First: r.First, Last: r.Last}.String()
	}
	return strings.Join(out, ",")
}

// IsCore says whether the set's members are those of a set of the core.
func (s *Set) IsCore() bool { return s.Nets == nil }
