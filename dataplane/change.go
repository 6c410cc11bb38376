package dataplane

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Change is what a kernel has to learn. Lists are sorted.
type Change struct {
	// Sets of the core that are new, changed or gone, those among them that no
	// program asks for too (Program.Sets): they only make up tables, and are asked for
	// where these are linear (Table.Rules). Sets of literal blocks are found in the
	// programs that ask for them.
	Sets []SetChange
	// Programs that are new or gone; what is new in tables is in Tables.
	Added, Removed []*Program
	// Tables whose contents changed, new ones among them.
	Tables []TableChange
	// Classes are the addresses whose number in Compiler.Classes changed.
	Classes []ClassChange
	// Endpoints that are new, changed, or gone (Policy is nil).
	Endpoints []EndpointChange
}

// SetChange is the change of one set.
type SetChange struct {
	Set            *Set
	New, Gone      bool
	Added, Removed []index.Member
}

// TableChange is the change of one table. New and gone tables list nothing:
// all of State counts, or nothing of it.
type TableChange struct {
	State     *TableState
	New, Gone bool
	// Addrs whose place changed: to TableState.At, or to nowhere.
	Addrs []netip.Addr
	// Blocks is true if the blocks changed.
	Blocks bool
	// Reformed is true if the table is classed or linear now and was not, or the
	// reverse: all of State counts. A table that is classed and was has in Classes the
	// numbers whose entry may have changed: to TableState.AtClass, or to nothing.
	Reformed bool
	Classes  []uint32
}

// EndpointChange is the change of one endpoint.
type EndpointChange struct {
	Ref model.Ref
	// Before and After; the zero Endpoint where there is none.
	Before, After Endpoint
}

func (ch *Change) sort() {
	slices.SortFunc(ch.Sets, func(a, b SetChange) int { return cmp.Compare(a.Set.ID, b.Set.ID) })
	byID := func(a, b *Program) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(ch.Added, byID)
	slices.SortFunc(ch.Removed, byID)
	slices.SortFunc(ch.Tables, func(a, b TableChange) int { return cmp.Compare(a.State.Table.ID, b.State.Table.ID) })
	slices.SortFunc(ch.Classes, func(a, b ClassChange) int { return a.Addr.Compare(b.Addr) })
	slices.SortFunc(ch.Endpoints, func(a, b EndpointChange) int { return a.Ref.Compare(b.Ref) })
}
