// Package startup counts what becomes of the first packets of new pods.
//
// One pod after the other starts a small program (folder starter) that sends UDP
// datagrams and TCP SYNs from its first instruction on, each with a number, to
// targets on its own node and on another one: some that policy allows, some that
// its egress policy denies, and some that deny it by their ingress policy. Packet
// sockets in the network namespaces of the targets see which of them arrive. What
// arrives though it is denied has got through a gap; what is allowed and does not
// arrive was lost in one.
//
//	Measure   the whole: targets, policies, pods, counts
//	Table     what came of it, as Markdown
//
// What it does not do: bring a cluster up (test/cluster), install Tierwall
// (test/cluster/install), or decide whether the counts are good enough.
package startup
