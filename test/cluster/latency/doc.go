// Package latency measures how long a change of policy takes to reach the wire:
// from the call of the API to the last packet that a deny should have stopped,
// and to the first that an allow lets through, between pods of two nodes.
//
//	Stream   new flows from one pod to another, one each half millisecond,
//	         each with its own source port; when each was sent and got through
//	Deny,    one round: have packets pass (or not), make the call, watch the
//	Allow    stream until it says the opposite and goes on saying it
//	Trigger  what the call is: a policy of some kind, a label of a pod
//	Table    percentiles of the rounds, as Markdown
//
// All times are of CLOCK_MONOTONIC, taken in one process: sender and receiver
// are sockets in the namespaces of two pods of one kernel, so no clocks have to
// agree. A round counts from before the request is sent; what the call itself
// took is told beside.
//
// What it does not do: bring a cluster up (test/cluster does), or decide whether
// figures are good enough.
package latency
