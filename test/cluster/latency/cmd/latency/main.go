//go:build linux

// Latency measures, on a test cluster that is up, how
// long policies of Tierwall take to reach the wire, and prints tables:
//
//	latency -cluster DIR                   all of it, some ten minutes
//	latency -cluster DIR -rounds 20 -kubectl-rounds 5 -starts 10
//
//	-install     installs Tierwall first
//	-out FILE    writes the tables to a file of their own too
//	-page FILE   writes them into that page, between its two marks
//
// What is measured is told in package latency. The exit status is 0 if all could
// be measured: figures are not judged.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/tierwall/tierwall/test/cluster"
	"github.com/tierwall/tierwall/test/cluster/install"
	"github.com/tierwall/tierwall/test/cluster/latency"
)

type options struct {
	cluster, out, page      string
	rounds, kubectl, starts int
	install                 bool
}

func main() {
	var o options
	flag.StringVar(&o.cluster, "cluster", os.Getenv("CLUSTER"), "folder of a test cluster that is up (default $CLUSTER)")
	flag.IntVar(&o.rounds, "rounds", 100, "rounds of each change by the API; 0: none")
	flag.IntVar(&o.kubectl, "kubectl-rounds", 30, "rounds of each change by kubectl apply; 0: none")
	flag.IntVar(&o.starts, "starts", 50, "pods that start; 0: none")
	flag.BoolVar(&o.install, "install", false, "install Tierwall first, of this module")
	flag.StringVar(&o.out, "out", "", "file that takes the tables")
	flag.StringVar(&o.page, "page", "", "page that takes the tables between its marks")
	flag.Parse()
	log.SetLogger(logr.Discard()) // the client's: what goes wrong is returned
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	c, err := cluster.Open(o.cluster)
	if err != nil {
		return err
	}
	root, err := install.Module()
	if err != nil {
		return err
	}
	if o.install {
		if err := install.Tierwall(ctx, c, install.Options{Module: root}); err != nil {
			return err
		}
	}
	bed, err := latency.NewBed(ctx, c, root)
	if err != nil {
		return err
	}
	defer func() {
		if failed := bed.Close(context.WithoutCancel(ctx)); err == nil {
			err = failed
		}
	}()
	var text strings.Builder
	fmt.Fprintf(&text, "Three-node test cluster (%s), %s.\n", c.Options(), time.Now().UTC().Format(time.DateOnly))
	for _, part := range []struct {
		rounds  int
		measure func(context.Context, int) (string, error)
	}{{o.rounds, bed.Calls}, {o.kubectl, bed.Kubectl}, {o.starts, bed.Starts}} {
		if part.rounds == 0 {
			continue
		}
		load := loadNow()
		table, err := part.measure(ctx, part.rounds)
		if err != nil {
			return err
		}
		table = fmt.Sprintf("\n%s\nLoad of the machine before and after: %s, %s.\n", table, load, loadNow())
		fmt.Print(table)
		text.WriteString(table)
	}
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	if o.page == "" {
		return nil
	}
	return latency.UpdatePage(o.page, text.String())
}

// loadNow is the machine's load of the last minute.
func loadNow() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}
