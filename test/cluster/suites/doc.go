// Package suites runs the suites that network plugins are judged by, unmodified,
// against a cluster that is up: Kubernetes' own specs of NetworkPolicy
// ([Netpol]) and the conformance tests of ClusterNetworkPolicy
// ([ClusterPolicy]).
//
// A suite that is cut short, or that lost a test, must not look like one that
// passed. So for each suite there is a list of the tests that it has (*.list
// beside this file), and a run is judged against it ([Suite.Judge]): what the
// list names and the report does not is missing, and missing is failed. The list
// also says which tests need SCTP sockets, which pass where nothing is enforced,
// and which make up the short run.
//
// It makes no cluster and installs nothing but the CustomResourceDefinition that
// the second suite needs. The programs of the suites come from hack/kube.sh.
// Command suites is the program around this package.
package suites
