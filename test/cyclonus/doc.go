// Package cyclonus holds Tierwall's core to a third implementation of Kubernetes
// NetworkPolicy, the matcher of github.com/mattfenwick/cyclonus. It is a module of
// its own so that nothing of it is among the dependencies of Tierwall.
package cyclonus
