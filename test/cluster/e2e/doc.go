// Package e2e holds Tierwall's own end-to-end specs: on a real cluster (package
// cluster) it is installed as users install it, every kind of policy is tried
// with packets between pods, nodes and the world outside, and parts of it are
// broken, upgraded, restarted and at last removed.
//
// The specs are built with the tag e2e alone, for they need root and minutes:
//
//	go test -tags e2e ./test/cluster/e2e -v -ginkgo.v
//
// They make a cluster, with the options that the environment names (NODES, DUAL,
// PODNET, PROXY, RUNTIME as for make cluster-up), and take it down at the end. With
// TIERWALL_CLUSTER=FOLDER they use the one that is up there, which must not have
// Tierwall. DATAPLANE is spec.dataplane of Tierwall/default: Auto, NFTables or
// IPTables. PAGE names a page that takes the result of a run of all specs. Label
// `short` marks the specs that CI runs on every commit.
//
// What the rules of a policy mean is told in docs/semantics.md and tried case by
// case in test/scenarios; here it is enough that each kind arrives in the kernels
// of all nodes, is changed, and goes.
package e2e
