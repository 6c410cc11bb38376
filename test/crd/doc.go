// Package crd tests the generated CustomResourceDefinitions as an API server
// uses them: that it installs them (structural schema, CEL rules compile, their
// estimated costs stay within the limits), and what it accepts and refuses.
//
// It is a module of its own because it needs the API server's code, which
// nothing else in Tierwall does. testdata/good holds objects that must be
// accepted; each document of testdata/bad says in comments `# expect: TEXT`
// what the refusal must contain.
package crd
