//go:build suites

// Package kube pins the upstream test suites that hack/kube.sh builds; it has no
// code of its own.
package kube

import (
	_ "k8s.io/kubernetes/test/e2e"
	_ "sigs.k8s.io/network-policy-api/conformance/tests"
)
