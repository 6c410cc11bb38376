// Package diff compares the connectivity of two worlds: what could be reached before
// and no longer can be, what can be reached now, and which rules decided before and
// after.
//
// The comparison is exact, not sampled. Everything that can send or receive is an atom:
// an address of a pod or host, identified by its name in both worlds, or a group of
// outside addresses that no rule distinguishes. Atoms that both worlds treat alike form
// a class. For each pair of classes, the results for all packets (package packets) are
// compared; pairs of classes for which nothing relevant has changed are skipped. Equal
// results are merged again, so that a report says "all pods of shop" where it can.
//
// A port of a node or of an external address at which a Service answers belongs to the
// Service's endpoints: what is sent there is compared as nodes translate it, unless it
// changes in the same way when it is sent straight to an endpoint, because then this is
// the change to report.
//
// An endpoint that exists in only one of the worlds loses and gains nothing; its access
// is listed separately. If an endpoint is on both sides of a change, its traffic with
// itself is not included: what pods send themselves through their own Services has
// changes of its own (Itself), and nothing else of this traffic ever changes. ICMP
// between IPv6 addresses and ICMPv6 between IPv4 addresses do not exist and are left
// out.
package diff
