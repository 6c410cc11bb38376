// Package admission holds the two judges of Tierwall's kinds to one verdict:
// the CustomResourceDefinitions, which the API server applies, and package
// convert, which lint and the agents apply. Its objects are those of test/crd.
package admission
