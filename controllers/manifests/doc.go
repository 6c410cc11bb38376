// Package manifests reads Kubernetes objects for the policy core: from files,
// folders and standard input (Load), or from a live cluster (FromCluster).
//
//	paths → files → documents → YAML nodes → typed objects → Result
//	Result.Complete: what manifests leave out and a cluster would add
//	Result.Index:    conversion and the policy index
//
// Reading is strict where a slip would change a verdict: an unknown field of a
// policy is an error that names file, line, object, field and the nearest known
// field. Every object remembers where it stands, so that problems found later
// (conversion, lint, diff) can be shown at their line: Object.LineOf,
// Result.Locate.
package manifests
