// Package translate turns the manifests of other network policy systems into
// Tierwall objects: Calico's kinds in both of their spellings
// (projectcalico.org/v3 and crd.projectcalico.org/v1), AdminNetworkPolicy and
// BaselineAdminNetworkPolicy, and Cilium's policies as far as layers 3 and 4 go.
//
// It is pure: [New] gives the struct that a foreign kind is decoded into, and
// [Translate] turns the decoded struct into objects of package v1alpha1 and
// notes. A note says which field has no exact equivalent and what follows from
// that. Two rules hold throughout: nothing is dropped without a note, and what
// cannot be said exactly is said more strictly. An Allow that has no equivalent
// becomes a rule that matches nothing, and a Deny that has none denies more,
// never less, unless its note says otherwise.
//
// [Translate] sees one object at a time. What only shows among several (two
// objects that each hold a part of the settings, two policies whose names
// differed only by their tier) is settled by [Reconcile].
package translate
