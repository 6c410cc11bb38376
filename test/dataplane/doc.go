// Package dataplane holds Tierwall's promises about packets while things happen:
// policies change, pods come and go, agents end and start, somebody flushes the
// table, nft fails. Small worlds of network namespaces (package lab) carry
// steady traffic meanwhile, and every packet is counted: none of a flow that is
// always allowed may be lost, none of one that is always denied may arrive.
//
// Packet by packet what policies mean is test/scenarios' matter.
package dataplane
