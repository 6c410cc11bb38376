package nft

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzAssemble: no text makes the assembler panic, and what it takes it writes
// as whole attributes.
func FuzzAssemble(f *testing.F) {
	files, err := filepath.Glob("../testdata/*.nft")
	if err != nil || len(files) == 0 {
		f.Fatal("no goldens", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			text, _, _ := strings.Cut(strings.TrimSpace(line), " comment ")
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := newBatch(&Table{Name: "fuzz"})
		from := len(b.buf)
		if b.assemble(text) != nil || len(b.buf)-from > 1<<16 {
			return // a rule is shorter than an attribute can say
		}
		if err := nested(b.buf[from:], func(uint16, []byte) error { return nil }); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// FuzzLists: nothing that a kernel could list makes the readers panic.
func FuzzLists(f *testing.F) {
	b := newBatch(&Table{Name: "fuzz"})
	from := len(b.buf)
	if err := b.assemble("ip saddr @s counter drop"); err != nil {
		f.Fatal(err)
	}
	f.Add(b.buf[from:])
	f.Add([]byte{5, 0, 7, 0, 0, 2, 0, 0})
	f.Fuzz(func(_ *testing.T, attrs []byte) {
		s := &Snapshot{chains: map[string][]string{}, bases: map[string]Hook{}, sets: map[string]*Set{}, counters: map[string]bool{}}
		for _, read := range []func([]byte) error{s.noteTable, s.noteChain, s.noteRule, s.noteSet} {
			_ = read(attrs)
		}
		_, _, _, _ = counted(attrs)
		var parts []listed
		_ = eachElement(attrs, func(e listed) { parts = append(parts, e) })
		for _, o := range []*Set{{Types: "ipv4_addr", Interval: true, Elems: map[string]string{}}, {Types: "inet_service", Interval: true, Elems: map[string]string{}}, {Types: "ipv6_addr . inet_proto", Elems: map[string]string{}}} {
			if o.Interval {
				o.join(parts)
			}
			for _, e := range parts {
				_ = o.holds(e)
				_ = o.keyText(string(e.key))
			}
			for k := range o.Elems {
				_ = o.keyText(k)
			}
		}
	})
}
