package nft

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Family is a table's family, by the kernel's number (NFPROTO).
type Family byte

// The families that a table may have.
const (
	Inet   Family = unix.NFPROTO_INET
	Bridge Family = unix.NFPROTO_BRIDGE
)

// String is the family as nft writes it.
func (f Family) String() string {
	if f == Bridge {
		return "bridge"
	}
	return "inet"
}

// Table is one table of the kernel's nftables.
type Table struct {
	Family  Family
	Name    string
	Comment string
	// Bases are the names of all base chains that the table ever has. One that a
	// ruleset does not have stays in the kernel, empty, so that no hook comes and
	// goes under traffic.
	Bases []string
}

// base reports whether a name is one of the table's base chains'.
func (t *Table) base(name string) bool { return slices.Contains(t.Bases, name) }
