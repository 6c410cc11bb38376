package policy

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Options of an Index.
type Options struct {
	// Local says whether the endpoints of a node are local; nil: all are. Only local
	// endpoints have effective policies.
	Local func(node string) bool
}

// Index is the incremental core. Not safe for concurrent use.
type Index struct{}

// New returns an empty Index with the built-in tiers and default settings.
func New(o Options) *Index { return &Index{} }

// Upsert adds or replaces an object.
func (ix *Index) Upsert(o model.Object) {}

// Delete removes an object; unknown ones are no error.
func (ix *Index) Delete(r model.Ref) {}

// Flush brings everything up to date and returns what has changed since the last Flush.
func (ix *Index) Flush() *Delta { return &Delta{} }

// Effective returns a local endpoint's effective policy as of the last Flush, or nil.
func (ix *Index) Effective(endpoint model.Ref) *Effective { return nil }

// Endpoint returns an endpoint, local or not, as of the last Flush.
func (ix *Index) Endpoint(r model.Ref) (*model.Endpoint, bool) { return nil, false }

// Endpoints returns the refs of all endpoints, sorted.
func (ix *Index) Endpoints() []model.Ref { return nil }

// Owner returns the pod that has an address, or else the host endpoint, or else the zero Ref.
// Of several the first by name counts.
func (ix *Index) Owner(a netip.Addr) model.Ref { return model.Ref{} }

// Node returns the node by name, NodeOf the node that has an address.
func (ix *Index) Node(name string) *model.Node     { return nil }
func (ix *Index) NodeOf(a netip.Addr) *model.Node  { return nil }
func (ix *Index) Nodes() []*model.Node             { return nil }
func (ix *Index) Settings() *model.Settings        { return nil }
func (ix *Index) Tiers() []*model.Tier             { return nil } // in order, missing ones too
func (ix *Index) Policies() []*model.Policy        { return nil } // in evaluation order
func (ix *Index) Selected(p model.Ref) []model.Ref { return nil } // local endpoints that a policy selects, sorted

// Decide follows a connection attempt through every stage. All endpoints
// involved must be local for the decision to be whole.
func (ix *Index) Decide(f model.Flow) model.Decision { return model.Decision{} }

// Set is a set of addresses (SetAddrs) or of address, protocol and port
// (SetAddrPorts). It exists while a policy refers to it that selects a local endpoint.
type Set struct{}

// ID is short, stable across processes, and follows from what the set is
// defined by (selector, service, port name), not from its members.
func (s *Set) ID() string { return "" }

// String is the definition for people: a canonical selector, service ns/name, or port name of selector.
func (s *Set) String() string { return "" }

// Kind of the members.
func (s *Set) Kind() SetKind { return SetAddrs }

// Len is the number of members; Members returns them sorted.
func (s *Set) Len() int          { return 0 }
func (s *Set) Members() []Member { return nil }

// Contains says whether an address (and for SetAddrPorts the protocol and port) is in the set.
func (s *Set) Contains(a netip.Addr, p model.Protocol, port uint16) bool { return false }
