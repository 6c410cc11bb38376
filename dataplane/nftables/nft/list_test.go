package nft

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoteTable reads what a kernel lists of a table.
func TestNoteTable(t *testing.T) {
	for _, c := range []struct {
		name            string
		table           string
		flags           uint32
		present, broken bool
	}{
		{"as it should be", "ours", 0, true, false},
		{"dormant", "ours", 1, true, true},
		{"owned", "ours", 2, true, true},
		{"another's", "theirs", 1, false, false},
	} {
		b := newBatch(&Table{Name: "ours"})
		from := len(b.buf)
		b.string(unix.NFTA_TABLE_NAME, c.table+"\x00")
		b.bytes(unix.NFTA_TABLE_FLAGS, binary.BigEndian.AppendUint32(nil, c.flags))
		s := &Snapshot{table: Table{Name: "ours"}}
		if err := s.noteTable(b.buf[from:]); err != nil || s.present != c.present || s.broken != c.broken {
			t.Errorf("%s: present %t, broken %t, error %v", c.name, s.present, s.broken, err)
		}
	}
}
