// Package scenarios holds policy tests in YAML: one folder a scenario, each with
// the objects (resources.yaml), a comment that says what they are about, and the
// cases (test.yaml, kind PolicyTest). Together they are the semantics of Tierwall
// by example; docs/semantics.md says the same in words.
//
// `tierwall test test/scenarios` runs them, and so does the Go test here, which
// also asks the naive interpreter of package test/oracle: the two must agree with
// the file and with each other. Where a machine can have a lab (package lab)
// each case is also a packet through the kernels of its nodes.
//
// Beside each test stands the ruleset of each node, NODE.nft, as `tierwall render`
// prints it: what the policies become. `go test ./test/scenarios -run TestRulesets
// -update` writes these files. Pods without a node are on lab-default-node.
package scenarios
