package nft

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/dataplane/naming"
)

// String is the ruleset in nft's language, as nft -f reads it: the same text for
// the same contents.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n%s\n", r.table.Family, r.table.Name, commentLine("\t", r.table.Comment))
	for _, name := range sortedKeys(r.Counters) {
		fmt.Fprintf(&b, "\tcounter %s {\n%s\t}\n\n", name, commentLine("\t\t", r.Counters[name].Comment))
	}
	for _, name := range sortedKeys(r.Sets) {
		r.Sets[name].print(&b)
	}
	for _, name := range sortedKeys(r.Chains) {
		r.Chains[name].print(&b)
	}
	return strings.TrimSuffix(b.String(), "\n") + "}\n"
}

func commentLine(indent, s string) string {
	if s == "" {
		return ""
	}
	return indent + "comment \"" + naming.Plain(s, maxComment) + "\"\n"
}

func (s *Set) print(b *strings.Builder) {
	kind, types := "set", s.Types
	switch {
	case s.Verdicts:
		kind, types = "map", types+" : verdict"
	case s.Classes:
		kind, types = "map", types+" : "+TypeClass
	}
	fmt.Fprintf(b, "\t%s %s {\n\t\ttype %s\n", kind, s.Name, types)
	if s.Interval {
		b.WriteString("\t\tflags interval\n")
	}
	if s.timed() {
		fmt.Fprintf(b, "\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %s\n", s.Size, DurationText(s.Timeout))
	}
	b.WriteString(commentLine("\t\t", s.Comment))
	if len(s.Elems) > 0 {
		b.WriteString("\t\telements = {\n")
		for _, k := range sortedKeys(s.Elems) {
			text := s.keyText(k)
			if v := s.Elems[k]; s.Classes {
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

func (c *Chain) print(b *strings.Builder) {
	fmt.Fprintf(b, "\tchain %s {\n%s", c.Name, commentLine("\t\t", c.Comment))
	if c.Hook != nil {
		fmt.Fprintf(b, "\t\ttype filter hook %s priority %d; policy accept;\n", c.Hook.Name, c.Hook.Priority)
	}
	for _, r := range c.Rules {
		b.WriteString("\t\t" + r.Text)
		if r.Comment != "" {
			fmt.Fprintf(b, " comment \"%s\"", naming.Plain(r.Comment, maxRuleComment))
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
func (r Rule) tagged() string {
	tag := "#" + naming.Hash(r.Text)[:tagLen]
	if r.Comment == "" {
		return tag
	}
	return naming.Plain(r.Comment, maxRuleComment) + " " + tag
}
