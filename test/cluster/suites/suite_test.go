package suites

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func flagOf(t *testing.T, argv []string, name string) string {
	t.Helper()
	for _, a := range argv {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return ""
}

// What ginkgo is asked for must be what is judged, in every run.
func TestNetpolCommandAsksForTheTests(t *testing.T) {
	tests, err := Netpol.Tests()
	if err != nil {
		t.Fatal(err)
	}
	for _, selection := range []Selection{{}, {NoSCTP: true}, {Short: true}, {Short: true, NoSCTP: true}} {
		run, skipped := selection.split(tests)
		argv := Netpol.command(Target{Kubeconfig: "/k", Nodes: 3}, "/programs", "/folder", run, skipped, !selection.Short)
		focus := regexp.MustCompile(flagOf(t, argv, "--focus"))
		var asked []string
		for _, test := range tests {
			text := "Kubernetes e2e suite " + test.Name // as ginkgo matches it
			skip := flagOf(t, argv, "--skip")
			if focus.MatchString(text) && (skip == "" || !regexp.MustCompile(skip).MatchString(text)) {
				asked = append(asked, test.Name)
			}
		}
		if !slices.Equal(asked, testNames(run)) {
			t.Errorf("%+v asks for %d tests, want %d", selection, len(asked), len(run))
		}
	}
}

// The testing package splits patterns at | and / outside of brackets, and matches
// each part with the part of the name at its place.
func TestClusterPolicyCommandAsksForTheTests(t *testing.T) {
	tests, err := ClusterPolicy.Tests()
	if err != nil {
		t.Fatal(err)
	}
	matches := func(pattern, name string) bool {
		for alternative := range strings.SplitSeq(pattern, "|") {
			parts, names := strings.Split(alternative, "/"), strings.Split(name, "/")
			if len(parts) > len(names) {
				continue
			}
			all := true
			for i, p := range parts {
				all = all && regexp.MustCompile(p).MatchString(names[i])
			}
			if all {
				return true
			}
		}
		return false
	}
	for _, selection := range []Selection{{}, {NoSCTP: true}, {Short: true}, {Short: true, NoSCTP: true}} {
		run, skipped := selection.split(tests)
		argv := ClusterPolicy.command(Target{Kubeconfig: "/k"}, "/programs", "/folder", run, skipped, !selection.Short)
		if !slices.Contains(argv, "KUBECONFIG=/k") {
			t.Errorf("%v names no kubeconfig", argv)
		}
		var asked []string
		for _, test := range tests {
			skip := flagOf(t, argv, "-test.skip")
			if matches(flagOf(t, argv, "-test.run"), test.Name) && (skip == "" || !matches(skip, test.Name)) {
				asked = append(asked, test.Name)
			}
		}
		if !slices.Equal(asked, testNames(run)) {
			t.Errorf("%+v asks for %d tests, want %d", selection, len(asked), len(run))
		}
	}
}
