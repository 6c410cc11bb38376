// Package agent is what runs on every node: it keeps the kernel's rules equal to
// what the objects say.
//
//	Source ──→ queue ──→ convert ──→ index.Index ──→ dataplane.Compiler ──→ dataplane.Backend
//	                                      └───────────────────────────────→ conntrack.Find
//
// A [Source] delivers objects: from a cluster (controllers/cluster) or from a
// folder (controllers/folder).
// One goroutine, [Agent.Run], does all the rest. Objects that arrive while it is at work
// wait in the queue and become one transaction afterwards or, where they are
// much, some rounds that are fair by writer (queue.go). Pods with large policies wait
// for what a round means for them, one group after the other, and the backend prepares
// it in small transactions while others' changes go on (late.go).
//
// Budgets. The objects of a namespace may have so many entries (budgets.go), and its
// pods may cost the node so much (nodebudget.go); what is past that denies, or keeps
// what is in force.
//
// Nothing is written before the source has said that it is in sync: an agent that
// starts must not take what it has not seen yet for deleted. Until then, and
// after the agent has ended, the kernel goes on with the rules that it has.
//
// Failure. After an error of the backend everything is synced anew, with
// growing pauses. If that goes on, the agent looks for the object that the
// kernel will not take (isolate.go), lets it deny instead, and applies all the
// others. What is wrong with an object's content stops nothing: conversion has
// put it in a form that never widens access.
//
// Log rules. The packets that they match come from dataplane/nflog and become
// lines and metrics in a goroutine of their own (logs.go), which asks Run for
// nothing but the names of rules.
//
// The node itself. What the kernel reports of it (dataplane/links: all of its
// addresses, its routes, where its pods are attached) is read before the first
// transaction, after notices of the kernel and of local pods that have changed, and
// every 30 s (links.go). It goes into the index as objects do.
//
// What others learn of it. Metrics and probes (metrics.go, health.go; counters are
// read beside Run's work where the backend can, dataplane.CounterReader), and what a
// [StatusReporter] is told after each transaction (report.go): which generation of
// each policy is in the kernel, and which is not and why. What guards have met is
// read for it once a minute (guards.go). Package reporter makes the node's NodeReport of it.
//
// Time. All waits go by an injected clock.
package agent
