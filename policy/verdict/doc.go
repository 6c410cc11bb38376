// Package verdict decides packets: which policies a connection meets on its way
// between two addresses, in which order, and what each of them says. It reads an
// index.Index and changes nothing; the data planes compile the same policies, and are
// held to these verdicts by packets.
//
//	model.Flow ──▶ whose ends ──▶ route: stops in order ──▶ each stop decides ──▶ model.Decision
//
// The files, in the order in which a packet travels:
//
//	ends.go          whose an address is: a pod's, a node's, an unknown workload's, outside
//	route.go         the stops of a connection, at one node after the other
//	hop.go           the stops at one node: before routing, sender, forwarded, receiver
//	way.go           where a packet comes in and leaves, where its flow names that
//	onlink.go        what has no pod's address: link-local, multicast, neighbour discovery, DHCP
//	decide.go        a flow taken through its stops
//	evaluate.go      one chain of policies: tiers, policies, rules
//	why.go           in words, why a criterion did not match
//	translated.go    connections to a Service, whose destination is translated on the way
//	surroundings.go  which addresses meet the same host endpoints, for package diff
package verdict
