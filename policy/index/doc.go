// Package index is the core's state: it takes objects in package model's form, in any
// order and even before the objects that they refer to exist, and maintains what
// follows from them: the effective policy of each local endpoint, the members of the
// sets that those policies refer to, and the facts about nodes and addresses. What
// happens to a packet is decided in package verdict.
//
//	model.Object ── Upsert, Delete ──▶ Index ── Flush ──▶ Delta: Effective, Set, endpoints, names
//	names.Delta ────── ApplyNames ─────▶ ┘ └── lookups ──▶ package verdict
//
// An Index is a state machine without goroutines, clocks or I/O. Its cost is
// proportional to the number of distinct label groups and the selectors that could
// match them, not to the number of policies times the number of endpoints.
//
// Rules by DNS name. A list of names is one more kind of set, whose members are what
// DNS answers have brought: Delta.PatternsAdded and PatternsRemoved say which names rules
// of local endpoints speak of; whoever learns addresses (names.Table: Use, Release) hands
// Table.Deltas to ApplyNames, and the next Flush has what follows as ordinary changes of
// sets. Where the selector of an egress rule that allows or logs matches network sets
// with names, it has a set of its own (Set.ByName) with their addresses. A name of which
// nothing is known has no addresses, and the rule matches none for it. Effective.ByName
// tells endpoints with such rules from those without, in each EndpointDelta;
// Index.ByName and Index.Patterns list both. Audited policies count: they are evaluated.
//
// The files, in the order in which an object travels:
//
//	index.go                    the Index, Upsert and Delete
//	lookups.go                  lookups by name and by address
//	holders.go                  what has addresses: pods, host endpoints, network sets, nodes
//	ghosts.go                   pods that are gone from the API and are still running
//	namespaces.go, services.go  what holders belong to
//	nodes.go, links.go          nodes, their addresses, blocks, interfaces and host endpoints
//	addresses.go                which holder has which address
//	symbols.go, labels.go       labels as numbers; holders that selectors cannot tell apart
//	match.go, buckets.go        which selectors match which of them, found by their narrowest condition
//	policies.go                 policies, tiers, their order, and which of them are active
//	namespacedsets.go           which network sets of namespaces count in which rules
//	domains.go                  names, and the sets of addresses that answers have brought for them
//	namedsets.go                names of network sets, where rules select these
//	addrsets.go                 the sets that rules refer to, and their members
//	classes.go, effective.go    endpoints that the same policies select share one effective policy
//	clusteraddrs.go             addresses and pod blocks of all nodes
//	flush.go                    what has changed since the last Flush
//	late.go                     work for endpoints with large policies that is left to a later Flush
//	membership.go               addresses that are in the same sets, for package packets
package index
