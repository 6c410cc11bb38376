// Package packets computes with sets of packets instead of single packets.
//
// A Space is a set of packets that one address can send to another: protocol × source
// port × destination port, or ICMP type × code. It has one canonical form, so that two
// spaces can be compared, joined, intersected and subtracted exactly, and it prints as
// people write traffic ("TCP 80, 443").
//
// An Evaluator runs the rules of an Index over whole spaces: for one pair of addresses,
// it determines which part of the space each rule decides. It computes for all packets
// at once what verdict.Decide computes for one packet.
//
// Addresses that nothing distinguishes need to be evaluated only once: Cut divides all
// addresses without an owner into such groups. Packages diff, lint and reach are built
// on these three.
package packets
