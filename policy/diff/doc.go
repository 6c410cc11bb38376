// Package diff compares the connectivity of two worlds: what could be reached
// before and cannot be any more, what can be reached now, and which rules
// decided before and after.
//
// The comparison is exact, not sampled. Everything that can send or receive is
// an atom: an address of a pod or host, known by its name in both worlds, or a
// group of outside addresses that no rule tells apart. Atoms that both worlds
// treat alike form a class. For each pair of classes the fates of all packets
// (package packets) are compared; pairs of classes for which nothing relevant has
// changed are left out. What came out equal is put together again, so that a
// report speaks of "all pods of shop" where it can.
//
// An endpoint that only one of the worlds has loses and gains nothing; what it
// may do there is listed apart. Traffic of an endpoint with itself is not meant
// where an endpoint is on both sides of a change: what pods send themselves by way of
// their own Services has changes of its own (Itself), and nothing else of this traffic
// ever changes. ICMP between IPv6 addresses and ICMPv6 between IPv4 addresses do not
// exist and are left out.
package diff
