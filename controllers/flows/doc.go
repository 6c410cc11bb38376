// Package flows is the manager's part of what has happened: it reads the records of all
// agents, joins what both ends have seen, keeps them, and serves them.
//
//	agents ──▶ Reader ──▶ Joiner (policy/flows) ──▶ Store ──▶ Handler ──▶ commands, page
//
// The files: reader.go reads agents; store.go keeps windows in memory within bounds;
// serve.go is the HTTP API and watch.go its stream of events; access.go finds what a caller
// may see; file.go reads JSON lines, so that the same API works without a cluster.
package flows
