// Package packets computes with sets of packets instead of single packets.
//
// A Space is the set of everything that two addresses can send each other:
// protocol × source port × destination port, or ICMP type × code. It has one
// canonical form, so that two spaces can be compared, joined, intersected and
// subtracted exactly, and it prints as people write traffic ("TCP 80, 443").
//
// An Evaluator runs the rules of an Index over whole spaces: for one pair of
// addresses it says which part of the space each rule decides. It is what
// verdict.Decide answers for one packet, answered for all of them at once.
//
// Addresses that nothing tells apart need only one answer: Cut divides all
// addresses that belong to nobody into such groups. Packages diff and lint are
// built from these three.
package packets
