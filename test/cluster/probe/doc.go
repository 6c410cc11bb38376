// Package probe is both ends of test traffic on a cluster: one small program
// (folder program) that runs in pods, on nodes and beside the cluster. It answers
// on TCP and UDP ports, and on demand probes others, or keeps up a stream of
// packets and counts.
//
// It is told what to do on a unix socket and not over the network, so that no
// policy under test is between the test and the pod: the socket is a file that
// the pod shares with the test program. A probe's outcome tells apart what was
// answered, refused (by a reset or an ICMP error) and dropped (nothing came back
// in time), and the receiver of a datagram remembers it, so that a packet which
// got through while its answer did not is noticed too.
package probe
