// Package corpus writes what adversaries would (test/adversaries) to a real
// kube-apiserver, beside an agent with a kernel of its own, and times another tenant's
// changes from the write until they are in the kernel.
package corpus
