// Package worlds holds backends of the data plane to random worlds: the same
// worlds for each backend, so that all of them decide alike.
//
// A Feed is a random world that changes, as the agent of a node sees it: tests of
// a backend hold what it makes of each change to what the world is. Packets sends
// real packets through the nodes of many worlds and holds what becomes of them to
// the core's decision. What the worlds are made of is package oracle's matter,
// namespaces and probes are package lab's.
//
// Every failure names the seed of its world. TIERWALL_SEED runs one world alone,
// TIERWALL_WORLDS says how many worlds get packets:
//
//	TIERWALL_WORLDS=5000 go test -timeout 3h -run TestPackets ./dataplane/nftables ./dataplane/iptables
package worlds
