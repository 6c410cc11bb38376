package iptables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
)

// plan is what makes a kernel of one shape hold a ruleset.
type plan struct {
	create  []*ipset // that rules will ask for, with all their elements
	restore map[dataplane.Family]string
	destroy []string // sets that no rule of ours asks for any more
	keep    []string // all other sets
	change  []setChange
	// closing and opening are change, sorted (Backend.split).
	closing, opening []setChange
}

// setChange is what changes in a set that stays.
type setChange struct {
	set         *ipset
	add, remove []elem
}

func (p *plan) empty() bool {
	return len(p.create)+len(p.restore)+len(p.destroy)+len(p.change) == 0
}

// planOf returns what is to be done. Sets of one name are taken for the same kind;
// whether their elements are, is compared.
func planOf(have *shape, want *ruleset) *plan {
	p := &plan{restore: map[dataplane.Family]string{}}
	wanted := map[string]bool{}
	for _, key := range sortedKeys(want.sets) {
		s := want.sets[key]
		wanted[s.name] = true
		p.keep = append(p.keep, s.name)
		old := have.sets[s.name]
		if old == nil {
			p.create = append(p.create, s)
			continue
		}
		if timed(s.kind) > 0 {
			continue
		}
		if add, remove := difference(old.elems, s.elems); len(add)+len(remove) > 0 {
			p.change = append(p.change, setChange{s, add, remove})
		}
	}
	for _, name := range sortedKeys(have.sets) {
		if !wanted[name] {
			p.destroy = append(p.destroy, name)
		}
	}
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		if text := restoreFamily(have, want, f); text != "" {
			p.restore[f] = text
		}
	}
	return p
}

// restoreFamily returns what iptables-restore --noflush is to be told of a family, or "".
// Each table holds at once, but one after the other, and a packet passes if all
// of them let it. So that none passes by the old rules of one and the new ones of another:
// where the early tables held nothing they come first, where they will hold nothing, last;
// where one of them differs, packets meet the old and the new filter table until it holds (meetBoth);
// else what they judge is dropped in the filter table until all of them hold. The source
// guard's short cuts need none of this: old ones go before the filter table changes, new ones come after it.
func restoreFamily(have *shape, want *ruleset, f dataplane.Family) string {
	wanted := func(name string) *table { return want.of(f)[name] }
	filter := restoreTable(tableFilter, have.tables[f][tableFilter], wanted(tableFilter), nil)
	mangle := restoreTable(tableMangle, have.tables[f][tableMangle], wanted(tableMangle), nil)
	raw, late := restoreTable(tableRaw, have.tables[f][tableRaw], wanted(tableRaw), nil), ""
	if raw != "" && filter != "" {
		first := narrowed(have.tables[f][tableRaw], wanted(tableRaw))
		raw = restoreTable(tableRaw, have.tables[f][tableRaw], first, nil)
		if first != nil {
			late = restoreTable(tableRaw, first.shape(), wanted(tableRaw), nil)
		}
	}
	rawDiffers := raw != "" && restoreTable(tableRaw, have.tables[f][tableRaw].withoutShort(), wanted(tableRaw).withoutShort(), nil) != ""
	mangleDiffers := restoreTable(tableMangle, have.tables[f][tableMangle].withoutHold(), wanted(tableMangle).withoutHold(), nil) != ""
	differ := mangleDiffers || rawDiffers
	held := len(have.tables[f].chainsOf(tableRaw))+len(have.tables[f][tableMangle].withoutHold().chains) > 0
	changed := 0
	for _, text := range []string{raw, mangle, filter} {
		changed += min(len(text), 1)
	}
	switch {
	case changed <= 1 || !differ || !held:
		return raw + mangle + filter + late
	case wanted(tableRaw) == nil && wanted(tableMangle).withoutHold() == nil:
		return filter + mangle + raw
	}
	if rawDiffers != mangleDiffers && !want.single {
		if both, then, ok := meetBoth(have.tables[f][tableFilter], wanted(tableFilter), want.early); ok {
			return both + raw + mangle + then + late
		}
	}
	closed, open := closeHost(have, want, f)
	return closed + raw + mangle + open + late
}

// closeHost returns what has the filter table drop new packets that the early
// tables judge, less failsafe ports and what is allowed early; and what makes the
// table as it should be then.
func closeHost(have *shape, want *ruleset, f dataplane.Family) (closed, open string) {
	const why = "until all tables hold what changes"
	all := rule{"", "-j DROP", why}
	// Where early tables leave out pods, those that they know are left alone.
	unknown, newcomers := all, all
	for _, name := range sortedKeys(have.sets) {
		if key, _ := keyOf(name); key == fmt.Sprintf("%dpods-early", f) {
			unknown.match = inSet("! ", name, "src")
			if pods := want.sets[fmt.Sprintf("%dpods", f)]; pods != nil {
				newcomers.match = inSet("", pods.name, "src") + " " + unknown.match
			}
		}
	}
	chains := have.tables[f].chainsOf(tableFilter)
	touched := map[string]bool{}
	var lines []string
	insert := func(chain string, before int, r rule) {
		if old, ok := chains[chain]; ok {
			lines = append(lines, fmt.Sprintf("-I %s %d %s", chain, max(min(before, len(old)), 0)+1, r.text()))
			touched[chain] = true
		}
	}
	insert(chainForward, 0, unknown)
	insert(chainPrefix+"INPUT", 1, newcomers)
	insert(chainToHost, 0, unknown)
	insert(chainLocalIn, afterOpen(chains[chainLocalIn]), all)
	insert(chainLocalOut, afterOpen(chains[chainLocalOut]), all)
	insert(chainPrefix+"OUTPUT", len(chains[chainPrefix+"OUTPUT"])-1, all) // others', by way of IPVS
	if len(lines) > 0 {
		closed = "*" + tableFilter + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
	}
	return closed, restoreTable(tableFilter, have.tables[f][tableFilter], want.of(f)[tableFilter], touched)
}

// afterOpen is behind the rules of a chain that let pass what early tables do
// not judge, or have allowed; they are known by their comments.
func afterOpen(comments []string) int {
	n := 0
	for i, c := range comments {
		for _, open := range base.Unjudged {
			if strings.HasPrefix(c, open+" #") {
				n = i + 1
			}
		}
	}
	return n
}

// chainsOf returns the chains of ours in a table.
func (t tableShapes) chainsOf(name string) map[string][]string {
	if t[name] == nil {
		return nil
	}
	return t[name].chains
}

// difference returns what sorted elements lack and have too many.
func difference(have, want []elem) (add, remove []elem) {
	if same(have, want) {
		return nil, nil
	}
	for len(have) > 0 || len(want) > 0 {
		switch {
		case len(want) == 0 || len(have) > 0 && have[0].compare(want[0]) < 0:
			remove, have = append(remove, have[0]), have[1:]
		case len(have) == 0 || want[0].compare(have[0]) < 0:
			add, want = append(add, want[0]), want[1:]
		default:
			have, want = have[1:], want[1:]
		}
	}
	return add, remove
}

// same says whether two lists are one and the same.
func same(a, b []elem) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// restoreTable returns what iptables-restore --noflush is to be told of a table,
// or "". All of it holds at once. Chains in touched are written in any case.
func restoreTable(name string, have *tableShape, want *table, touched map[string]bool) string {
	if have == nil {
		have = newTableShape()
	}
	if want == nil {
		want = newTable()
	}
	var declared, rules, gone []string
	for _, c := range sortedKeys(want.chains) {
		old, there := have.chains[c]
		if there && !touched[c] && slices.Equal(old, want.tagsOf(c)) {
			continue
		}
		declared = append(declared, c)
		for _, r := range want.chains[c] {
			rules = append(rules, "-A "+c+" "+r.text())
		}
	}
	for _, c := range sortedKeys(have.chains) {
		if _, ok := want.chains[c]; !ok {
			declared, gone = append(declared, c), append(gone, "-X "+c)
		}
	}
	hooks := hookLines(have, want)
	if len(declared)+len(hooks) == 0 {
		return ""
	}
	slices.Sort(declared)
	var text strings.Builder
	fmt.Fprintf(&text, "*%s\n", name)
	for _, c := range declared {
		fmt.Fprintf(&text, ":%s - [0:0]\n", c)
	}
	for _, line := range slices.Concat(rules, hooks, gone) {
		text.WriteString(line + "\n")
	}
	text.WriteString("COMMIT\n")
	return text.String()
}

// hookLines makes our jumps stand first in built-in chains, once each.
func hookLines(have *tableShape, want *table) []string {
	var out []string
	for _, builtin := range sortedKeys(have.jumps) {
		jumps := have.jumps[builtin]
		to := want.hooks[builtin]
		if to != "" && len(jumps) == 1 && jumps[0] == (jump{0, hookText(to), to}) {
			continue
		}
		for _, j := range jumps {
			out = append(out, "-D "+builtin+" "+j.text)
		}
		if to != "" {
			out = append(out, "-I "+builtin+" 1 "+hookText(to))
		}
	}
	for _, builtin := range sortedKeys(want.hooks) {
		if len(have.jumps[builtin]) == 0 {
			out = append(out, "-I "+builtin+" 1 "+hookText(want.hooks[builtin]))
		}
	}
	return out
}
