// Package adversaries is a fixed corpus of worlds that a tenant writes to cost a node as
// much as can be: what a namespace's editor or administrator may create, in the largest
// forms that an API server stores. The same numbers make the same objects, byte for byte.
//
// test/integration/corpus writes them to a real API server and measures what becomes of
// another tenant's changes.
package adversaries
