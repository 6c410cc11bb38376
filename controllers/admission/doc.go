// Package admission reports errors in an object at once when it is applied, where the
// CustomResourceDefinition cannot: the syntax of selectors, address families, a tier
// that does not exist.
//
// It is the validating webhook of Tierwall's own kinds. Its results are those of `lint`
// and of the agents, because all three call the same functions (policy/convert,
// policy/lint). Errors reject the object; warnings are returned to the client, and so
// are errors in an object whose spec has not changed.
//
// Nothing depends on it. The API server proceeds without an answer (failurePolicy
// Ignore): an invalid object is then reported on its status, and never widens access.
// What must always hold is checked by the API server itself (config/admission,
// config/crd).
//
// The manager may not write those admission policies, because they limit it too. It
// checks whether they are in place, and reports those that are not (lookout.go).
//
// Each replica of the manager serves the webhook. Its certificate is in one Secret,
// which any replica creates and renews; see certificates.go.
package admission
