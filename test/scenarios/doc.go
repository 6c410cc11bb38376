// Package scenarios holds policy tests in YAML: one folder a scenario, each with
// the objects (resources.yaml), a comment that says what they are about, and the
// cases (test.yaml, kind PolicyTest). Together they are the semantics of Tierwall
// by example; docs/semantics.md says the same in words.
//
// `tierwall test test/scenarios` runs them, and so does the Go test here, which
// also asks the naive interpreter of package test/oracle: the two must agree with
// the file and with each other.
package scenarios
