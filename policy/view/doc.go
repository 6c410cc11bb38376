// Package view computes what the page shows, from objects and from records of flows. It
// is pure; package controllers/page serves it.
//
//	World.Board   the policies, tier by tier, with the hits of their rules
//	World.Map     who may reach whom, and who was seen to
//	World.Explain one connection, or one record, through every rule
//	World.WhatIf  another state of the objects: what changes, for all packets and for
//	              the flows that were seen
//
// The types with JSON tags are the answers of the API /ui/v1.
package view
