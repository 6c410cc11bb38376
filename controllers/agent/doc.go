// Package agent is the process on every node: it keeps the kernel's rules equal to what
// the objects say.
//
//	Source ──→ queue ──→ intake ──→ index.Index ──→ dataplane.Compiler ──→ kernelWriter ──→ dataplane.Backend
//	                                     └────────────────────────────────→ sweeper ──→ conntrack.Table
//
// A [Source] delivers objects: from a cluster (controllers/cluster) or from a folder
// (controllers/folder). One goroutine, [Agent.Run] (run.go), does all the rest. Objects
// that arrive while it is at work wait in the queue and become one transaction afterwards
// or, if they are many, rounds that are fair by writer (queue.go, backlog.go, round.go,
// pace.go). Each change is converted and put into the index (intake.go); what follows for
// the kernel is compiled and committed in one transaction (transact.go, writer.go). Pods
// with large policies wait for what a round means for them, one group after the other, and
// the backend prepares it in small transactions while others' changes go on (late.go).
//
// The parts of an agent, what each owns and its files: see node (node.go).
//
// Budgets. The objects of a namespace may have so many entries (budgets.go), and its
// pods may cost the node so much (nodebudget.go); what is past that denies, or keeps
// what is in force.
//
// Nothing is written before the source is in sync: an agent that starts must not take
// what it has not seen yet for deleted. Until then, and after the agent has ended, the
// kernel goes on with the rules that it has, or with what was kept for a new boot
// (boot.go, kept.go).
//
// Failure. After an error of the backend everything is synced anew, with growing pauses.
// If that goes on, the agent looks for the object that the kernel does not take
// (isolate.go), lets it deny instead (standin.go), and applies all the others. What is
// wrong with an object's content stops nothing: conversion has put it in a form that
// never widens access.
//
// Established connections. Those that a changed policy denies are cut, and kept from
// coming back (sweeper.go).
//
// The node itself. What the kernel reports of it (dataplane/links: all of its addresses,
// its routes, where its pods are attached) is read before the first transaction, after
// notices of the kernel and of local pods that have changed, and every 30 s (links.go).
// It goes into the index as objects do.
//
// Log rules. The packets that they match come from dataplane/nflog and become lines and
// metrics in a goroutine of their own (packetlog.go), which asks Run for nothing but the
// names of rules.
//
// What others learn of it. Metrics (metrics.go; counters.go reads the kernel's, beside
// Run's work where the backend can, dataplane.CounterReader), probes (health.go), and
// after each transaction a [Status] for the [StatusReporter] (report.go): which generation
// of each policy is in the kernel, and which is not and why. What guards have met is read
// for it once a minute (guards.go). Package reporter makes the node's NodeReport of it.
//
// Time. All waits go by an injected clock.
package agent
