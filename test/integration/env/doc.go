// Package env gives an integration test a real API server: kube-apiserver and
// etcd of their own, with RBAC on and Tierwall's CRDs installed.
//
//	var cluster *env.Env
//
//	var _ = BeforeSuite(func() {
//		var err error
//		cluster, err = env.Start(env.Options{})
//		Expect(err).NotTo(HaveOccurred())
//		DeferCleanup(cluster.Stop)
//	})
//
// One server a suite: it takes some five seconds and 300 MB. Specs keep apart by
// names and namespaces of their own.
//
// What is not there: controllers and nodes. No ServiceAccount gets a token, no
// DaemonSet gets pods, aggregated ClusterRoles stay empty, a deleted namespace
// stays Terminating, and nothing is garbage-collected. A test that needs such a
// thing does it itself, as the user that the controller would be.
//
// The programs are built by hack/kube.sh, which `make test` runs first. Without
// them Start fails and says so; no test is skipped.
package env
