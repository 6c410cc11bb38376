// Package install puts Tierwall on a test cluster the way its users do: the
// image that config/operator names is built and loaded on the nodes, and
// config/default is applied with kubectl. It installs, upgrades, waits and
// removes; what the installed Tierwall does is for others to test.
//
// All goes through kubectl inside the machine "cp", so the caller may stand in
// any network namespace.
package install
