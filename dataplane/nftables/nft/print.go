package nftables

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/dataplane/naming"
)

// String is the ruleset in nft's language, as nft -f reads it: the same text for
// the same contents.
func (r *ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n%s\n", r.table.Family, r.table.Name, commentLine("\t", r.table.Comment))
	for _, name := range sortedKeys(r.counters) {
		fmt.Fprintf(&b, "\tcounter %s {\n%s\t}\n\n", name, commentLine("\t\t", r.counters[name].comment))
	}
	for _, name := range sortedKeys(r.sets) {
		r.sets[name].print(&b)
	}
	for _, name := range sortedKeys(r.chains) {
		r.chains[name].print(&b)
	}
	return strings.TrimSuffix(b.String(), "\n") + "}\n"
}

func commentLine(indent, s string) string {
	if s == "" {
		return ""
	}
	return indent + "comment \"" + naming.Plain(s, maxComment) + "\"\n"
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
	if s.timed() {
		fmt.Fprintf(b, "\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %s\n", s.size, durationText(s.timeout))
	}
	b.WriteString(commentLine("\t\t", s.comment))
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
	fmt.Fprintf(b, "\tchain %s {\n%s", c.name, commentLine("\t\t", c.comment))
	if c.hook != nil {
		fmt.Fprintf(b, "\t\ttype filter hook %s priority %d; policy accept;\n", c.hook.name, c.hook.priority)
	}
	for _, r := range c.rules {
		b.WriteString("\t\t" + r.text)
		if r.comment != "" {
			fmt.Fprintf(b, " comment \"%s\"", naming.Plain(r.comment, maxRuleComment))
		}
		b.WriteString("\n")
	}
	b.WriteString("\t}\n\n")
}

// maxComment is what nft takes as a comment, in bytes.
const maxComment = 127

// tagLen is the length of the tag that ends a rule's comment and tells one
// rule's text from another's, and maxRuleComment what is left beside it.
const (
	tagLen         = 6
	maxRuleComment = maxComment - len(" #") - tagLen
)

// tagged is the comment that a rule bears in the kernel: what it is for people,
// and a tag by which a changed rule is known without reading it.
func (r rule) tagged() string {
	tag := "#" + naming.Hash(r.text)[:tagLen]
	if r.comment == "" {
		return tag
	}
	return naming.Plain(r.comment, maxRuleComment) + " " + tag
}
