// Package oldest installs the generated CustomResourceDefinitions with the
// code of the oldest Kubernetes release that Tierwall supports, 1.31: its CEL
// has other reserved words and estimates other costs than today's.
//
// It is a module of its own because a module has one version of that code.
package oldest
