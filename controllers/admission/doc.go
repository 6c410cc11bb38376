// Package admission tells people at once what is wrong with an object that they
// apply, where the CustomResourceDefinition cannot: the syntax of selectors, address
// families, a tier that does not exist.
//
// It is the validating webhook of Tierwall's own kinds. What it says is what `lint`
// says and what the agents go by: the same functions judge in all three places
// (policy/convert, policy/lint). Errors refuse the object; warnings go back to the
// person who applies it, and so does what is wrong with an object that only changes
// in other respects than its spec.
//
// Nothing depends on it. The API server goes on without an answer (failurePolicy
// Ignore): an invalid object then is reported on its status, and never widens access.
// What must hold always is checked by the API server itself (config/admission,
// config/crd).
//
// The manager may not write what is checked there: those policies limit it too. It
// looks whether they are in place, and reports what is not (lookout.go).
//
// Each replica of the manager serves the webhook. Its certificate is in one Secret,
// which any replica makes and renews; see certificates.go.
package admission
