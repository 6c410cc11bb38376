package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
)

// The kernel's own form of a legacy table is one list of entries: for each chain
// its rules and an entry for its end, for each chain that is not built in one
// with its name before. Rules lead to other chains by their place in the list.

// layout is where an entry has what; counts in bytes. The address part comes
// first, then (both families alike) a word, the two offsets, a word, counters.
type layout struct {
	offsets, counters, matches int
	// gotoFlag and the byte that has it: the rule leads to a chain by -g.
	flags    int
	gotoFlag byte
}

var layouts = map[dataplane.Family]layout{
	dataplane.IPv4: {offsets: 88, counters: 96, matches: 112, flags: 82, gotoFlag: 0x02},
	dataplane.IPv6: {offsets: 140, counters: 152, matches: 168, flags: 131, gotoFlag: 0x04},
}

// Parts of an entry's matches and target: length, name, then data.
const (
	extName = 2
	extData = 32
	nameLen = 29
)

var builtins = [5]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// tableInfo is what the kernel says of a legacy table without listing it:
// struct ipt_getinfo. Equal ones are no proof of equal rules, but others are of a change.
type tableInfo struct {
	validHooks uint32
	// hooks and ends are where the list has the first rule and the end of built-in chains.
	hooks, ends   [5]uint32
	entries, size uint32
}

// entry is a part of a table's list.
type entry struct {
	lay  layout
	data []byte // with matches and target
	at   int
}

func (e *entry) half(at int) int { return int(binary.NativeEndian.Uint16(e.data[at:])) }

// ext returns the name and the data of a match or target at a place.
func (e *entry) ext(at int) (name string, data []byte, next int, err error) {
	if at < 0 || at+extData > len(e.data) {
		return "", nil, 0, errEntry
	}
	size := e.half(at)
	if size < extData || at+size > len(e.data) {
		return "", nil, 0, errEntry
	}
	return cString(e.data[at+extName : at+extName+nameLen]), e.data[at+extData : at+size], at + size, nil
}

func (e *entry) target() (name string, data []byte, err error) {
	name, data, _, err = e.ext(e.half(e.lay.offsets))
	return name, data, err
}

// comment returns the comment of a rule, and whether it asks for nothing at all.
func (e *entry) comment() (text string, bare bool, err error) {
	bare = !slices.ContainsFunc(e.data[:e.lay.offsets-4], func(b byte) bool { return b != 0 })
	for at, end := e.lay.matches, e.half(e.lay.offsets); at < end; {
		name, data, next, err := e.ext(at)
		if err != nil {
			return "", false, err
		}
		if name == "comment" {
			text = cString(data)
		} else {
			bare = false
		}
		at = next
	}
	return text, bare, nil
}

// verdict returns the place to which a rule leads, or -1.
func (e *entry) verdict() (int, error) {
	name, data, err := e.target()
	if err != nil || name != "" || len(data) < 4 {
		return -1, err
	}
	if v := int32(binary.NativeEndian.Uint32(data)); v >= 0 {
		return int(v), nil
	}
	return -1, nil
}

var errEntry = errors.New("iptables: an entry of the kernel's list is not understood")

func cString(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// parseEntries reads the kernel's list of a legacy table: the same that parseSave
// reads of the text, but for the text of jumps that are not as ours are.
func parseEntries(f dataplane.Family, info tableInfo, blob []byte) (*tableShape, error) {
	chains, names, err := splitEntries(f, info, blob)
	if err != nil {
		return nil, err
	}
	t := newTableShape()
	for _, c := range chains {
		ours := strings.HasPrefix(c.name, chainPrefix)
		if ours {
			t.chains[c.name] = nil
		}
		for i := range c.rules {
			if err := t.add(c.name, ours, i, &c.rules[i], names); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// add takes a rule of a chain.
func (t *tableShape) add(chain string, ours bool, position int, e *entry, names map[int]string) error {
	comment, bare, err := e.comment()
	if err != nil {
		return err
	}
	if ours {
		t.chains[chain] = append(t.chains[chain], comment)
		c := e.data[e.lay.counters:]
		t.counts[chain] = dataplane.Count{Packets: binary.NativeEndian.Uint64(c), Bytes: binary.NativeEndian.Uint64(c[8:])}
		return nil
	}
	v, err := e.verdict()
	if err != nil || v < 0 || !strings.HasPrefix(names[v], chainPrefix) {
		return err
	}
	text := hookText(names[v])
	if !bare || comment != "" {
		text = "and more, " + text
	}
	t.jumps[chain] = append(t.jumps[chain], jump{position, text, names[v]})
	return nil
}

// entryChain is a chain of a table's list.
type entryChain struct {
	name  string
	rules []entry // less the end
}

// splitEntries returns the chains of a list, and their names by the place of their first entry.
func splitEntries(f dataplane.Family, info tableInfo, blob []byte) ([]entryChain, map[int]string, error) {
	lay := layouts[f]
	starts := map[int]string{}
	for h, at := range info.hooks {
		if info.validHooks&(1<<h) != 0 {
			starts[int(at)] = builtins[h]
		}
	}
	names := map[int]string{}
	var chains []entryChain
	for at := 0; at < len(blob); {
		if at+lay.matches > len(blob) {
			return nil, nil, errEntry
		}
		e := entry{lay: lay, data: blob[at:], at: at}
		size := e.half(lay.offsets + 2)
		if size < lay.matches || at+size > len(blob) {
			return nil, nil, errEntry
		}
		e.data = e.data[:size]
		name, data, err := e.target()
		if err != nil {
			return nil, nil, err
		}
		next := at + size
		switch builtin, starting := starts[at]; {
		case name == "ERROR" && next == len(blob): // the end of the list
		case name == "ERROR":
			chains = append(chains, entryChain{name: cString(data)})
			names[next] = cString(data)
		case starting:
			chains = append(chains, entryChain{name: builtin, rules: []entry{e}})
		case len(chains) == 0:
			return nil, nil, fmt.Errorf("%w: no chain begins at %d", errEntry, at)
		default:
			c := &chains[len(chains)-1]
			c.rules = append(c.rules, e)
		}
		at = next
	}
	for i := range chains {
		if n := len(chains[i].rules); n > 0 {
			chains[i].rules = chains[i].rules[:n-1]
		}
	}
	return chains, names, nil
}

// sameTable reports whether a shape that was read by parseEntries is the one that is
// wanted, but for what was counted. Of rules without a comment it knows only that they are
// there: their texts are compared where iptables-save has listed them.
func sameTable(a, b *tableShape) bool {
	if len(a.chains) != len(b.chains) || len(a.jumps) != len(b.jumps) {
		return false
	}
	for name, rules := range a.chains {
		if other, ok := b.chains[name]; !ok || !slices.EqualFunc(rules, other, func(have, want string) bool { return have == want || have == "" && !isTagged(want) }) {
			return false
		}
	}
	for name, jumps := range a.jumps {
		if !slices.Equal(jumps, b.jumps[name]) {
			return false
		}
	}
	return true
}
