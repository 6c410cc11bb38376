//go:build linux

// Suites runs the upstream suites against a cluster that is up:
//
//	suites -cluster DIR                      a test cluster (test/cluster)
//	suites -kubeconfig FILE [-netns NAME]    any other of two nodes or more
//
//	-install     installs Tierwall from this source first (test clusters only)
//	-baseline    before Tierwall is installed: what passes with no enforcement at all
//	-short       the short run: a dozen specs and a few conformance tests
//	-page FILE   writes the results of whole runs into the table of that page
//
// The exit status is 0 if every test that had to run has run and passed; for a
// baseline, if the suites ran. With -baseline failures are what is expected.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tierwall/tierwall/test/cluster"
	"github.com/tierwall/tierwall/test/cluster/install"
	"github.com/tierwall/tierwall/test/cluster/suites"
)

type options struct {
	cluster, kubeconfig, netns, out, page string
	names                                 string
	nodes                                 int
	short, baseline, install              bool
}

func main() {
	var o options
	flag.StringVar(&o.cluster, "cluster", os.Getenv("CLUSTER"), "folder of a test cluster that is up (default $CLUSTER)")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "administrator's kubeconfig of another cluster")
	flag.StringVar(&o.netns, "netns", "", "network namespace (of ip netns) from which that one is reached")
	flag.IntVar(&o.nodes, "nodes", 3, "number of nodes of that one")
	flag.StringVar(&o.names, "suites", "netpol,clusterpolicy", "suites to run")
	flag.StringVar(&o.out, "out", "", "folder for reports and logs (default: suites in the cluster's)")
	flag.StringVar(&o.page, "page", "", "page whose table takes the results of whole runs")
	flag.BoolVar(&o.short, "short", false, "the short run only")
	flag.BoolVar(&o.baseline, "baseline", false, "on a cluster without Tierwall: what passes all the same")
	flag.BoolVar(&o.install, "install", false, "on a test cluster: install Tierwall first, from this source")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, o, os.Stdout)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

// check refuses flags that do not go together.
func (o options) check() error {
	switch {
	case (o.cluster == "") == (o.kubeconfig == ""):
		return errors.New("name one cluster: -cluster (or $CLUSTER) or -kubeconfig")
	case o.cluster == "" && o.out == "":
		return errors.New("-out is missing: name a folder for reports and logs")
	case o.page != "" && (o.short || o.baseline):
		return errors.New("the table of a page has whole runs only: -page goes without -short and -baseline")
	case o.install && (o.baseline || o.cluster == ""):
		return errors.New("-install is for a test cluster, and goes without -baseline")
	}
	return nil
}

// run tells whether all went well.
func run(ctx context.Context, o options, out io.Writer) (bool, error) {
	if err := o.check(); err != nil {
		return false, err
	}
	chosen, err := choose(o.names)
	if err != nil {
		return false, err
	}
	root, err := install.Module()
	if err != nil {
		return false, err
	}
	target, folder, err := findTarget(ctx, o, root)
	if err != nil {
		return false, err
	}
	r := &suites.Runner{Root: root, Folder: folder, Log: os.Stderr}
	if target.Configuration.Runtime, err = r.Runtime(ctx, target); err != nil {
		return false, err
	}
	if target.Configuration.Dataplane, err = r.Dataplane(ctx, target); err != nil {
		return false, err
	}
	selection := suites.Selection{Short: o.short, NoSCTP: !suites.HasSCTP() && !target.OwnSCTP}
	fmt.Fprintln(out, aboutSCTP(selection))
	ok := true
	var rows []suites.Row
	for _, s := range chosen {
		v, err := r.Run(ctx, s, target, selection, o.baseline)
		if err != nil {
			return false, err
		}
		baseline, err := say(out, r, s, selection, v, o.baseline)
		if err != nil {
			return false, err
		}
		ok = ok && (o.baseline || v.OK())
		rows = append(rows, suites.Row{Suite: s, Configuration: target.Configuration, Verdict: v, Baseline: baseline, Day: time.Now()})
	}
	if o.page == "" {
		return ok, nil
	}
	return ok, suites.UpdatePage(o.page, rows)
}

func aboutSCTP(selection suites.Selection) string {
	switch {
	case selection.NoSCTP:
		return "This kernel has no SCTP sockets: tests that need them are skipped, and nothing else."
	case !suites.HasSCTP():
		return "This kernel has no SCTP sockets: pods send and answer SCTP on raw sockets. Nothing is skipped."
	default:
		return "Nothing is skipped."
	}
}

// say prints a verdict, and gives what it is held against.
func say(out io.Writer, r *suites.Runner, s suites.Suite, selection suites.Selection, v suites.Verdict, isBaseline bool) (suites.Verdict, error) {
	if isBaseline {
		known, err := s.KnownBaseline(selection)
		if err != nil {
			return known, err
		}
		return known, v.PrintBaseline(out, known)
	}
	baseline, err := r.Baseline(s, selection)
	if err != nil {
		return baseline, err
	}
	return baseline, v.Print(out, baseline)
}

func choose(names string) ([]suites.Suite, error) {
	var out []suites.Suite
next:
	for name := range strings.SplitSeq(names, ",") {
		for _, s := range suites.All() {
			if s.Name == name {
				out = append(out, s)
				continue next
			}
		}
		return nil, fmt.Errorf("there is no suite %q: want netpol or clusterpolicy", name)
	}
	return out, nil
}

// findTarget is the cluster that the flags name, and the folder for results.
func findTarget(ctx context.Context, o options, root string) (suites.Target, string, error) {
	if o.cluster != "" {
		return testCluster(ctx, o, root)
	}
	t := suites.Target{Kubeconfig: o.kubeconfig, Nodes: o.nodes}
	if o.netns != "" {
		t.Command = func(ctx context.Context, argv ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + o.netns, "--"}, argv...)...)
		}
	}
	folder, err := filepath.Abs(o.out)
	return t, folder, err
}

// testCluster is one of test/cluster. Its API server is reached from its own
// control plane's machine.
func testCluster(ctx context.Context, o options, root string) (suites.Target, string, error) {
	c, err := cluster.Open(o.cluster)
	if err != nil {
		return suites.Target{}, "", err
	}
	if o.install {
		if err := install.Tierwall(ctx, c, install.Options{Module: root}); err != nil {
			return suites.Target{}, "", err
		}
	}
	what := c.Options()
	t := suites.Target{
		Kubeconfig: c.Kubeconfig(),
		Nodes:      len(c.Nodes()),
		Command: func(ctx context.Context, argv ...string) *exec.Cmd {
			return c.Command(ctx, "cp", argv...)
		},
		OwnSCTP:       true,
		Configuration: suites.Configuration{PodNetwork: what.PodNetwork, ProxyMode: what.ProxyMode, Families: what.Families()},
	}
	if o.out == "" {
		return t, filepath.Join(what.Dir, "suites"), nil
	}
	folder, err := filepath.Abs(o.out)
	return t, folder, err
}
