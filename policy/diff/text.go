package diff

import (
	"fmt"
	"io"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// String describes the outcome in one line; "" for nil.
func (o *Outcome) String() string {
	if o == nil {
		return ""
	}
	var parts []string
	for _, v := range []*model.Verdict{o.Egress, o.Ingress} {
		if v != nil {
			parts = append(parts, describe(v))
		}
	}
	word := "denied"
	if o.Action == model.Allow {
		word = "allowed"
	}
	if len(parts) == 0 {
		return word + ": no policy decides before the Service's address is translated"
	}
	return word + " by " + strings.Join(parts, " and ")
}

// describe names what decided.
func describe(v *model.Verdict) string {
	var s string
	switch v.Reason {
	case model.ReasonRule:
		name := ""
		if v.RuleName != "" {
			name = fmt.Sprintf(" %q", v.RuleName)
		}
		s = fmt.Sprintf("%s rule %s%s of %s, tier %s", v.Direction, v.Rule, name, v.Policy, v.Tier)
	case model.ReasonEndOfTier:
		s = fmt.Sprintf("the end of tier %s for %s (last policy %s)", v.Tier, v.Direction, v.Policy)
	case model.ReasonDefault:
		s = fmt.Sprintf("the default for %s (no policy decides)", v.Direction)
	case model.ReasonNoEndpoint:
		s = fmt.Sprintf("the lack of a policy for %s (no endpoint)", v.Direction)
	case model.ReasonFailsafe:
		s = fmt.Sprintf("a failsafe port for %s", v.Direction)
	case model.ReasonOwnNode:
		s = "what always holds: a node reaches its own pods"
	case model.ReasonLoopback:
		s = "what always holds: an endpoint reaches itself"
	case model.ReasonEndpointToHost:
		s = "endpointToHostAction"
	case model.ReasonUnknownWorkload:
		s = fmt.Sprintf("unknownWorkloads for %s (the address is in a pod CIDR and no pod has it)", v.Direction)
	case model.ReasonGuard:
		s = fmt.Sprintf("the %s guard for %s", v.Policy.Name, v.Direction)
	case model.ReasonGhost:
		s = "what always holds: a pod whose object is gone can neither send nor receive"
	default:
		s = fmt.Sprintf("%s: %s", v.Direction, v.Reason)
	}
	switch v.Stage {
	case model.StageForward, model.StagePreDNAT, model.StageUntracked:
		s += fmt.Sprintf(" (%s)", v.Stage)
	}
	return s
}

// Painter colours headings; nil paints nothing.
type Painter func(kind Kind, s string) string

var headings = map[Kind]string{
	Lost:      "Lost: allowed before, denied after",
	Gained:    "Gained: denied before, allowed after",
	Redecided: "Same result, decided differently",
	Added:     "Allowed after, with endpoints that did not exist before",
	Removed:   "Allowed before, with endpoints that do not exist after",
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer, paint Painter) error {
	if paint == nil {
		paint = func(_ Kind, s string) string { return s }
	}
	var b strings.Builder
	last := Kind("")
	section := func(changes []Change) {
		for i := range changes {
			c := &changes[i]
			if c.Kind != last {
				last = c.Kind
				fmt.Fprintf(&b, "%s\n", paint(c.Kind, headings[c.Kind]))
			}
			c.writeText(&b)
		}
	}
	section(r.Changes)
	presence := func(title string, list []Presence) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(&b, "%s\n", title)
		var names []string
		for _, p := range list {
			names = append(names, p.Endpoint.String())
		}
		fmt.Fprintf(&b, "  %s\n\n", cut(names))
	}
	presence("Endpoints added", r.Added)
	presence("Endpoints removed", r.Removed)
	section(r.Apart)
	r.writeGuards(&b)
	fmt.Fprintln(&b, r.Summary)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) writeGuards(b *strings.Builder) {
	if len(r.Guards) == 0 {
		return
	}
	b.WriteString("Guards that differ\n")
	for _, g := range r.Guards {
		fmt.Fprintf(b, "  %s: %s before, %s after", g.Setting, g.Before, g.After)
		if g.NotCompared != "" {
			fmt.Fprintf(b, "; not compared: %s", g.NotCompared)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}

func (c *Change) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "  from    %s\n", c.From.Text)
	fmt.Fprintf(b, "  to      %s\n", c.To.Text)
	fmt.Fprintf(b, "  traffic %s", c.Traffic)
	if c.Family != "" {
		fmt.Fprintf(b, " (%s only)", c.Family)
	}
	if c.Where != "" && c.Where != Itself { // that is in the text of To
		fmt.Fprintf(b, " (%s)", c.Where)
	}
	b.WriteByte('\n')
	if c.Before != nil {
		fmt.Fprintf(b, "  before  %s\n", c.Before)
	}
	if c.After != nil {
		fmt.Fprintf(b, "  after   %s\n", c.After)
	}
	b.WriteByte('\n')
}

// String is the last line of a report.
func (s Summary) String() string {
	compared := fmt.Sprintf("%s and %s compared", count(s.Endpoints, "endpoint"), count(s.OutsideGroups, "group")+" of outside addresses")
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(s.Lost, "lost")
	add(s.Gained, "gained")
	add(s.Redecided, "decided differently")
	if s.Added > 0 {
		parts = append(parts, count(s.Added, "endpoint")+" added")
	}
	if s.Removed > 0 {
		parts = append(parts, count(s.Removed, "endpoint")+" removed")
	}
	if s.NotCompared > 0 {
		parts = append(parts, count(s.NotCompared, "guard")+" changed whose packets are not compared")
	}
	if len(parts) == 0 {
		return "No difference: " + compared + "."
	}
	return strings.Join(parts, ", ") + " (" + compared + ")."
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
