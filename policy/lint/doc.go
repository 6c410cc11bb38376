// Package lint finds what is wrong, useless or surprising in a set of objects: rules
// that an earlier rule hides, selectors that match nothing, pods cut off from DNS, host
// policies that failsafe ports override.
//
// Findings are exact where they can be: a rule is called hidden only if every packet
// that it matches, for every endpoint that its policy selects and every peer, known or
// unknown, has been decided before it (package packets). A finding that depends on the
// endpoints that exist now says so.
package lint
