package iptables

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
)

// shape is what is known of what the kernel holds of ours: of rules the comments,
// whose tags tell one rule from another, or the texts of those without.
type shape struct {
	tables map[dataplane.Family]tableShapes
	sets   map[string]*ipset // by the kernel's name
}

// tableShapes are a family's tables, by name.
type tableShapes map[string]*tableShape

// tableShape is what a kernel's table holds of ours.
type tableShape struct {
	chains map[string][]string // comments
	// jumps are the rules of built-in chains that lead to chains of ours.
	jumps map[string][]jump
	// counts are what the last rule of a chain has counted, by chain.
	counts map[string]dataplane.Count
}

// jump is a rule of a built-in chain that leads to a chain of ours.
type jump struct {
	position int // from 0
	text     string
	to       string
}

func newShape() *shape {
	return &shape{tables: map[dataplane.Family]tableShapes{dataplane.IPv4: {}, dataplane.IPv6: {}}, sets: map[string]*ipset{}}
}

func newTableShape() *tableShape {
	return &tableShape{chains: map[string][]string{}, jumps: map[string][]jump{}, counts: map[string]dataplane.Count{}}
}

// shape is the shape of a kernel that holds a ruleset, which must not change any
// more. Safe for concurrent use.
func (r *ruleset) shape() *shape {
	r.once.Do(func() { r.shown = r.makeShape() })
	return r.shown
}

func (r *ruleset) makeShape() *shape {
	s := newShape()
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		for name, t := range r.of(f) {
			s.tables[f][name] = t.shape()
		}
	}
	for _, set := range r.sets {
		s.sets[set.name] = set
	}
	return s
}

// shape is that of a kernel's table that holds this one.
func (t *table) shape() *tableShape {
	out := newTableShape()
	for c := range t.chains {
		out.chains[c] = t.tagsOf(c)
	}
	for builtin, c := range t.hooks {
		out.jumps[builtin] = []jump{{0, hookText(c), c}}
	}
	return out
}

func tags(rules []rule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r.tagged()
	}
	return out
}

// hookText is the rule of a built-in chain that leads to ours. It has no comment:
// every packet would have to match it.
func hookText(chain string) string { return "-j " + chain }

var (
	commentOf = regexp.MustCompile(` --comment (?:"([^"]*)"|(\S+))`)
	targetOf  = regexp.MustCompile(` -[jg] (\S+)`)
)

// parseSave reads what iptables-save -c writes. Other tables and lines that are
// not understood are passed over.
func parseSave(r io.Reader) (map[string]*tableShape, error) {
	out := map[string]*tableShape{}
	var t *tableShape
	positions := map[string]int{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "*"):
			t = newTableShape()
			out[line[1:]] = t
			clear(positions)
		case t == nil:
		case strings.HasPrefix(line, ":"):
			if name, _, _ := strings.Cut(line[1:], " "); strings.HasPrefix(name, chainPrefix) {
				t.chains[name] = nil
			}
		case strings.HasPrefix(line, "["):
			t.parseRule(line, positions)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("iptables: read the list of rules: %w", err)
	}
	return out, nil
}

// parseRule reads a line "[packets:bytes] -A CHAIN rule".
func (t *tableShape) parseRule(line string, positions map[string]int) {
	counters, text, ok := strings.Cut(line, "] -A ")
	if !ok {
		return
	}
	chain, text, _ := strings.Cut(text, " ")
	position := positions[chain]
	positions[chain]++
	if !strings.HasPrefix(chain, chainPrefix) {
		if m := targetOf.FindStringSubmatch(" " + text); len(m) > 1 && strings.HasPrefix(m[1], chainPrefix) {
			t.jumps[chain] = append(t.jumps[chain], jump{position, text, m[1]})
		}
		return
	}
	comment := text // of rules without one
	if m := commentOf.FindStringSubmatch(" " + text); m != nil {
		comment = strings.ReplaceAll(m[1]+m[2], `\'`, "'") // the one thing in our comments that is listed otherwise
	}
	t.chains[chain] = append(t.chains[chain], comment)
	packets, bytes, _ := strings.Cut(counters[1:], ":")
	var c dataplane.Count
	c.Packets, _ = strconv.ParseUint(packets, 10, 64)
	c.Bytes, _ = strconv.ParseUint(bytes, 10, 64)
	t.counts[chain] = c
}
