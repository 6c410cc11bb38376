// Package verdict decides packets: which policies a connection meets on its route
// between two addresses, in which order, and what each of them decides. It reads an
// index.Index and changes nothing; the data planes compile the same policies, and tests
// with packets compare them with these verdicts.
//
//	model.Flow ──▶ owners of both ends ──▶ route: stops in order ──▶ each stop decides ──▶ model.Decision
//
// The files, in the order in which a packet travels:
//
//	ends.go          the owner of an address: a pod, a node, an unknown workload, or none
//	route.go         the stops of a connection, one node after the other
//	hop.go           the stops at one node: before routing, sender, forwarded, receiver
//	way.go           where a packet arrives and leaves, if its flow names that
//	onlink.go        packets without a pod's address: link-local, multicast, neighbour discovery, DHCP
//	decide.go        takes a flow through its stops
//	evaluate.go      one chain of policies: tiers, policies, rules
//	why.go           describes in words why a criterion did not match
//	translated.go    connections to a Service, whose destination is translated on the way
//	surroundings.go  the addresses that meet the same host endpoints, for package diff
package verdict
