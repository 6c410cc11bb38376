// Package flows records the connections of a node: who has talked to whom, and what
// policy decided about it.
//
//	events.Reader ──→ flow ──→ attribution, remembered by flow ──→ key ──→ count in a window ──→ ring of windows
//	                              └── index.Index, by package verdict
//
// The kernel is read by polling (dataplane/conntrack/events), so that many events share
// one wake-up. Most connections are like another one that has been seen since the index last
// changed: only the others ask the index, and no connection asks the kernel. What decides
// is asked of package verdict, as explain does, so that the two never disagree.
//
// # Windows and limits
//
// Counts are summed by key (identity and what decided) in windows of 15 seconds, of which
// an hour is kept. There are at most maxKeys keys and maxCounts counts: past that the
// heaviest stay, and the others of a window are summed without ends, and counted. All of
// it is less than 32 MB.
//
// # Changes of policy
//
// The agent changes its index between Begin and Settle; nothing is attributed meanwhile.
// Events say nothing of the policy that decided them. What was read before a change was
// decided before it. What is read after it may have been either way, until the socket has
// been empty some time after the kernel had the new rules: these connections have both
// answers in their record, where the two differ.
//
// # Long connections
//
// Once a minute all connections are dumped: how many are open, and what they have carried
// since they were last looked at. A dump also makes up for events that were lost.
//
// # Files
//
//	recorder.go     options, settings; run.go: reading, dumps, switching on and off
//	count.go        an event → a count; denied.go: a denied packet → a count
//	change.go       what was decided before a change, and what after it
//	attribute.go    what the index says of a flow
//	sourceports.go  which ports of clients rules tell apart
//	services.go     which Service an address is of
//	table.go        keys, windows and their limits
//	record.go       a count → a Record
//	serve.go        /flows/v1; metrics.go, lines.go
package flows
