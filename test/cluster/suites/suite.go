package suites

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Suite is one of the upstream suites.
type Suite struct {
	// Name is what commands and file names call it.
	Name string
	// Title is what the table calls it.
	Title string
	// Program is the suite's test program, of hack/kube.sh; others are the further
	// programs that it takes.
	Program string
	others  []string
	// module has the suite; its version in Program is the suite's version.
	module string
	// timeout ends a run that hangs.
	timeout time.Duration
	list    string
	// prepare brings the cluster what the suite expects to find.
	prepare func(ctx context.Context, t Target, r *Runner) error
	// command is how the suite is run, and result the file that it leaves in folder;
	// without a result its output is the report.
	command func(t Target, programs, folder string, run, skipped []Test, whole bool) []string
	result  string
	parse   func(io.Reader) (Report, error)
}

// Netpol are Kubernetes' end-to-end specs of NetworkPolicy.
var Netpol = Suite{
	Name:    "netpol",
	Title:   "Kubernetes e2e, `[sig-network] Netpol`",
	Program: "e2e.test",
	others:  []string{"ginkgo", "kubectl"},
	module:  "k8s.io/kubernetes",
	timeout: 60 * time.Minute,
	list:    netpolList,
	command: netpolCommand,
	result:  "netpol.json",
	parse:   parseGinkgo,
}

// ClusterPolicy are network-policy-api's conformance tests, those of its
// experimental features included: egress to nodes, and named ports.
var ClusterPolicy = Suite{
	Name:    "clusterpolicy",
	Title:   "network-policy-api conformance, ClusterNetworkPolicy with EgressNodePeers and NamedPorts",
	Program: "npa-conformance.test",
	others:  []string{"kubectl"},
	module:  clusterPolicyModule,
	timeout: 40 * time.Minute,
	list:    clusterPolicyList,
	prepare: applyClusterPolicyKind,
	command: clusterPolicyCommand,
	parse:   parseGoTest,
}

// All are the suites, in the order in which they run.
func All() []Suite { return []Suite{Netpol, ClusterPolicy} }

// Tests are the tests that the suite is known to have.
func (s Suite) Tests() ([]Test, error) {
	tests, err := parseList(s.list)
	if err != nil {
		return nil, fmt.Errorf("list of suite %s: %w", s.Name, err)
	}
	return tests, nil
}

// Programs are what the suite needs of hack/kube.sh.
func (s Suite) Programs() []string { return append([]string{s.Program}, s.others...) }

// Judge holds a report against what the selection has of the suite's tests.
func (s Suite) Judge(r Report, selection Selection) (Verdict, error) {
	tests, err := s.Tests()
	if err != nil {
		return Verdict{}, err
	}
	run, skipped := selection.split(tests)
	v := judge(r, run, skipped)
	v.Suite = s.Name
	return v, nil
}

// KnownBaseline is what the list says of a run without enforcement: which tests
// of the selection pass all the same.
func (s Suite) KnownBaseline(selection Selection) (Verdict, error) {
	tests, err := s.Tests()
	if err != nil {
		return Verdict{}, err
	}
	run, _ := selection.split(tests)
	v := Verdict{Suite: s.Name, Total: len(run)}
	for _, t := range run {
		if t.Open {
			v.Passed++
			v.Passes = append(v.Passes, t.Name)
		}
	}
	return v, nil
}

// ginkgoProcesses run specs at a time. The specs mostly wait for packets that
// must not come, so that more of them than there are CPUs pay.
const ginkgoProcesses = 4

// netpolCommand asks for all specs of the suite, known or not, in a whole run,
// and for the named ones in a short one.
func netpolCommand(t Target, programs, folder string, run, skipped []Test, whole bool) []string {
	focus := `\[sig-network\] Netpol`
	if !whole {
		focus = "(?:" + alternatives(run, regexp.QuoteMeta) + ")$"
	}
	argv := []string{
		filepath.Join(programs, "ginkgo"), "run", "--no-color", "--succinct", "--procs=" + strconv.Itoa(ginkgoProcesses),
		"--timeout=60m", "--focus=" + focus, "--json-report=netpol.json", "--output-dir=" + folder,
	}
	if len(skipped) > 0 {
		argv = append(argv, "--skip=(?:"+alternatives(skipped, regexp.QuoteMeta)+")$")
	}
	return append(argv, filepath.Join(programs, "e2e.test"), "--",
		"--kubeconfig="+t.Kubeconfig, "--provider=skeleton", "--kubectl-path="+filepath.Join(programs, "kubectl"),
		"--num-nodes="+strconv.Itoa(t.Nodes), "--dump-logs-on-failure=false", "--disable-log-dump")
}

// clusterPolicyFeatures are the features of the suite that Tierwall has: all.
const clusterPolicyFeatures = "ClusterNetworkPolicy,ClusterNetworkPolicyNamedPorts,ClusterNetworkPolicyEgressNodePeers"

// clusterPolicyCommand asks for the one test function; there is another in the
// program that would run all of it a second time.
func clusterPolicyCommand(t Target, programs, _ string, run, skipped []Test, whole bool) []string {
	only := "^TestConformance$"
	if !whole {
		only = alternatives(run, goTestPattern)
	}
	argv := []string{
		"/usr/bin/env", "KUBECONFIG=" + t.Kubeconfig,
		filepath.Join(programs, "npa-conformance.test"), "-test.v=test2json", "-test.timeout=40m",
		"-test.run=" + only, "-supported-features=" + clusterPolicyFeatures,
	}
	if len(skipped) > 0 {
		argv = append(argv, "-test.skip="+alternatives(skipped, goTestPattern))
	}
	return argv
}

// goTestPattern matches one subtest: its name is matched part by part.
func goTestPattern(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
	}
	return strings.Join(parts, "/")
}

func alternatives(tests []Test, pattern func(string) string) string {
	out := make([]string, len(tests))
	for i, t := range tests {
		out[i] = pattern(t.Name)
	}
	return strings.Join(out, "|")
}

// clusterPolicyModule has the second suite.
const clusterPolicyModule = "sigs.k8s.io/network-policy-api"

// clusterPolicyKind is the definition with the experimental fields, in the module.
const clusterPolicyKind = "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml"

func applyClusterPolicyKind(ctx context.Context, t Target, r *Runner) error {
	folder, err := r.moduleFolder(ctx, clusterPolicyModule)
	if err != nil {
		return err
	}
	if err := r.kubectl(ctx, t, "apply", "--server-side", "-f", filepath.Join(folder, clusterPolicyKind)); err != nil {
		return err
	}
	return r.kubectl(ctx, t, "wait", "--for=condition=Established", "--timeout=30s", "crd/clusternetworkpolicies.policy.networking.k8s.io")
}
