// Package flows is about traffic that has happened: records of connections, summed by
// what people ask about them, and what follows from such records.
//
// A [Record] sums the connections of one window that have the same two ends, service,
// protocol and port, and were decided alike. Agents make records of what their kernel
// has seen (controllers/agent/flows); the manager joins those of both ends and keeps them
// (controllers/flows); commands and the page read them through one API.
//
// What decided a flow is not observed: it is what policy/verdict answers for the flow,
// so a record and explain cannot disagree.
//
// The package does no I/O and reads no clock. Its files:
//
//	record.go     the record
//	api.go        lists, as the HTTP API has them
//	order.go      the order of records
//	query.go      which records are wanted, pages of them
//	join.go       what two nodes have seen of the same connections becomes one record
//	step.go       short windows become long ones
//	access.go     what a viewer may see of a record
//	hits.go       how often each rule has decided
//	unused.go     rules that have decided nothing
//	audit.go      what audited policies would have changed
//	recommend.go  policies that allow what was seen
package flows
