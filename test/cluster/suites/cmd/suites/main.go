//go:build linux

// Suites runs the upstream suites against a cluster that is up:
//
//	suites -cluster DIR                      a test cluster (test/cluster)
//	suites -kubeconfig FILE [-netns NAME]    any other of two nodes or more
//
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
	short, baseline                       bool
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
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run tells whether all went well.
func run(ctx context.Context, o options, out io.Writer) (bool, error) {
	chosen, err := choose(o.names)
	if err != nil {
		return false, err
	}
	if o.page != "" && (o.short || o.baseline) {
		return false, errors.New("the table of a page has whole runs only: -page goes without -short and -baseline")
	}
	target, folder, err := findTarget(o)
	if err != nil {
		return false, err
	}
	root, err := install.Module()
	if err != nil {
		return false, err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return false, err
	}
	r := &suites.Runner{Root: root, Folder: folder, Log: os.Stderr}
	if target.Configuration.Runtime, err = r.Runtime(ctx, target); err != nil {
		return false, err
	}
	selection := suites.Selection{Short: o.short, NoSCTP: !suites.HasSCTP() && !target.OwnSCTP}
	switch {
	case selection.NoSCTP:
		fmt.Fprintln(out, "This kernel has no SCTP sockets: tests that need them are skipped, and nothing else.")
	case !suites.HasSCTP():
		fmt.Fprintln(out, "This kernel has no SCTP sockets: pods send and answer SCTP on raw sockets. Nothing is skipped.")
	default:
		fmt.Fprintln(out, "Nothing is skipped.")
	}
	ok := true
	var rows []suites.Row
	for _, s := range chosen {
		v, err := r.Run(ctx, s, target, selection, o.baseline)
		if err != nil {
			return false, err
		}
		if o.baseline {
			known, err := s.KnownBaseline(selection)
			if err != nil {
				return false, err
			}
			if err := v.PrintBaseline(out, known); err != nil {
				return false, err
			}
			continue
		}
		baseline, err := r.Baseline(s, selection)
		if err != nil {
			return false, err
		}
		if err := v.Print(out, baseline); err != nil {
			return false, err
		}
		ok = ok && v.OK()
		rows = append(rows, suites.Row{Suite: s, Configuration: target.Configuration, Verdict: v, Baseline: baseline, Day: time.Now()})
	}
	if o.page == "" {
		return ok, nil
	}
	return ok, suites.UpdatePage(o.page, rows)
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
func findTarget(o options) (suites.Target, string, error) {
	if (o.cluster == "") == (o.kubeconfig == "") {
		return suites.Target{}, "", errors.New("name one cluster: -cluster (or $CLUSTER) or -kubeconfig")
	}
	if o.cluster != "" {
		return testCluster(o)
	}
	if o.out == "" {
		return suites.Target{}, "", errors.New("-out is missing: name a folder for reports and logs")
	}
	t := suites.Target{Kubeconfig: o.kubeconfig, Nodes: o.nodes}
	if o.netns != "" {
		t.Command = func(ctx context.Context, argv ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + o.netns, "--"}, argv...)...)
		}
	}
	return t, o.out, nil
}

// testCluster is one of test/cluster. Its API server is reached from its own
// control plane's machine.
func testCluster(o options) (suites.Target, string, error) {
	c, err := cluster.Open(o.cluster)
	if err != nil {
		return suites.Target{}, "", err
	}
	what := c.Options()
	t := suites.Target{
		Kubeconfig: c.Kubeconfig(),
		Nodes:      len(c.Nodes()),
		Command: func(ctx context.Context, argv ...string) *exec.Cmd {
			return c.Command(ctx, "cp", argv...)
		},
		OwnSCTP:       true,
		Configuration: suites.Configuration{PodNetwork: what.PodNetwork, ProxyMode: what.ProxyMode, Families: "IPv4"},
	}
	if what.DualStack {
		t.Configuration.Families = "IPv4 and IPv6"
	}
	folder := o.out
	if folder == "" {
		folder = filepath.Join(what.Dir, "suites")
	}
	return t, folder, nil
}
