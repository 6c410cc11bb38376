package nftables

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
)

// Render returns the whole table as nft reads it (nft -f), the same text for
// the same State: what Sync would make on a kernel without it.
func Render(s *dataplane.State, o Options) string {
	w := newWorld(s, o.complete())
	text := w.ruleset.String()
	if w.bridge != nil {
		text += "\n" + w.bridge.table("bridge")
	}
	return text
}

// String is the ruleset in nft's language, as the table of family inet.
func (r *ruleset) String() string { return r.table("inet") }

func (r *ruleset) table(family string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n\tcomment %q\n\n", family, TableName, tableComment)
	for _, name := range sortedKeys(r.counters) {
		fmt.Fprintf(&b, "\tcounter %s {\n%s\t}\n\n", name, commentLine(r.counters[name].comment))
	}
	for _, name := range sortedKeys(r.sets) {
		r.sets[name].print(&b)
	}
	for _, name := range sortedKeys(r.chains) {
		r.chains[name].print(&b)
	}
	return strings.TrimSuffix(b.String(), "\n") + "}\n"
}

func commentLine(s string) string {
	if s == "" {
		return ""
	}
	return "\t\tcomment \"" + dataplane.Plain(s, 127) + "\"\n"
}

func (s *set) print(b *strings.Builder) {
	kind, types := "set", s.types
	switch {
	case s.verdicts:
		kind, types = "map", types+" : verdict"
	case s.classes:
		kind, types = "map", types+" : "+typeClass
	}
	fmt.Fprintf(b, "\t%s %s {\n\t\ttype %s\n", kind, s.name, types)
	if s.interval {
		b.WriteString("\t\tflags interval\n")
	}
	if s.timed > 0 {
		fmt.Fprintf(b, "\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %s\n", s.most, timeText(s.timed))
	}
	b.WriteString(commentLine(s.comment))
	if len(s.elems) > 0 {
		b.WriteString("\t\telements = {\n")
		for _, k := range sortedKeys(s.elems) {
			text := s.keyText(k)
			if v := s.elems[k]; s.classes {
				text += " : " + classText(v)
			} else if v != "" {
				text += " : " + v
			}
			fmt.Fprintf(b, "\t\t\t%s,\n", text)
		}
		b.WriteString("\t\t}\n")
	}
	b.WriteString("\t}\n\n")
}

func (c *chain) print(b *strings.Builder) {
	fmt.Fprintf(b, "\tchain %s {\n%s", c.name, commentLine(c.comment))
	if c.hook != nil {
		fmt.Fprintf(b, "\t\ttype filter hook %s priority %d; policy accept;\n", c.hook.name, c.hook.priority)
	}
	for _, r := range c.rules {
		b.WriteString("\t\t" + r.text)
		if r.comment != "" {
			fmt.Fprintf(b, " comment \"%s\"", dataplane.Plain(r.comment, maxComment))
		}
		b.WriteString("\n")
	}
	b.WriteString("\t}\n\n")
}
