// Package base says once, for every backend, what the base chains of a node do:
// which packets leave at once, which meet a pod's policy, which a host
// endpoint's, and which a guard drops. It holds no policy of its own and knows no
// kernel: programs come from package dataplane, sets are named and not filled
// (backends keep them), and a backend renders each rule in its own language.
//
// Files, in the order in which a packet meets what they hold:
//
//	early.go      before routing and connection tracking: source guard, doNotTrack, preDNAT
//	hold.go       DNS answers that wait until what is in them is known, ahead of the filters
//	discovery.go  what links cannot live without: neighbours, multicast listeners, DHCP
//	local.go      to the node itself, and from it
//	forward.go    pods, and all that the node routes
//	link.go       what comes from or goes to pods' interfaces with addresses that no object lists
//	hosts.go      which host endpoint guards what, and its chains
//	failsafe.go   what no policy can close
//	spare.go      what programs count and do not deny, for guards that count
//	chain.go      the language of these rules
//	marks.go      the bits of the packet mark that they use
//	base.go       New and Tables: the entry
package base
