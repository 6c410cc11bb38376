//go:build linux

// Startup measures, on a test cluster that is up, what becomes of the first
// packets of new pods; see test/cluster/startup.
//
//	startup --dir CLUSTER [--install] [--pod-startup Wait|Require|Off] [--unknown Deny|Allow] [--pods 200]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/cluster"
	"github.com/tierwall/tierwall/test/cluster/install"
	"github.com/tierwall/tierwall/test/cluster/startup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir := flag.String("dir", os.Getenv("CLUSTER"), "folder of the cluster; default $CLUSTER")
	installs := flag.Bool("install", false, "install Tierwall of this module first")
	program := flag.String("program", "", "with --install: a tierwall that is built already")
	podStartup := flag.String("pod-startup", "", "spec.podStartup; default as it is")
	unknown := flag.String("unknown", "", "spec.unknownWorkloads; default as it is")
	o := startup.Options{Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	flag.IntVar(&o.Pods, "pods", 200, "pods that are started")
	flag.IntVar(&o.Parallel, "parallel", 4, "at a time")
	flag.DurationVar(&o.Duration, "duration", 400*time.Millisecond, "for which each pod sends")
	flag.DurationVar(&o.Interval, "interval", 4*time.Millisecond, "between its rounds")
	flag.Parse()
	if o.Cluster, err = cluster.Open(*dir); err != nil {
		return err
	}
	if o.Module, err = install.Module(); err != nil {
		return err
	}
	if o.Work, err = os.MkdirTemp("", "tierwall-startup-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(o.Work) }()
	target := install.Options{Module: o.Module, Work: o.Work, Program: *program}
	if *installs {
		if err := install.Tierwall(ctx, o.Cluster, target); err != nil {
			return err
		}
	}
	config, err := o.Cluster.Config()
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if o.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := tune(ctx, o.Client, *podStartup, *unknown); err != nil {
		return err
	}
	if err := install.Wait(ctx, o.Cluster, target); err != nil {
		return err
	}
	r, err := startup.Measure(ctx, o)
	if r != nil {
		fmt.Printf("%d pods, %d packets: %d allowed lost, %d denied through\n\n%s", r.Pods, r.Packets, r.Lost(), r.Through(), r.Table())
	}
	waits, werr := startup.Waits(ctx, o.Cluster)
	fmt.Printf("\n%s", waits)
	return errors.Join(err, werr)
}

// tune changes the settings.
func tune(ctx context.Context, c client.Client, podStartup, unknown string) error {
	if podStartup == "" && unknown == "" {
		return nil
	}
	tw := &v1alpha1.Tierwall{}
	if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.TierwallName}, tw); err != nil {
		return err
	}
	before := tw.DeepCopy()
	if podStartup != "" {
		tw.Spec.PodStartup = v1alpha1.PodStartup(podStartup)
	}
	if unknown != "" {
		tw.Spec.UnknownWorkloads = v1alpha1.Action(unknown)
	}
	if err := c.Patch(ctx, tw, client.MergeFrom(before)); err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // the operator sees to it
	return nil
}
