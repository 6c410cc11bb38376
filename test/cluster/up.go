//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// Up makes a cluster and returns when all its nodes are Ready and the images of
// pause and agnhost are there. Where the same cluster is up already it returns
// that, with power on all nodes; where another is up in Dir it refuses; what a
// dead one left behind in Dir is cleared away first.
//
// If it fails nothing runs any more, but the logs stay in Dir until the next Up
// or [Down].
func Up(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	module, err := moduleFolder()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	unlock, err := lock(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c, err := existing(ctx, o); c != nil || err != nil {
		return c, err
	}
	if err := prepareHost(ctx, o, module); err != nil {
		return nil, err
	}
	if err := findPrograms(ctx, &o, module); err != nil {
		return nil, err
	}
	c := newCluster(&state{Options: o})
	if err := c.state.write(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if err := c.build(ctx, module); err != nil {
		return nil, errors.Join(err, c.off(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// upTimeout is for Up, the building of programs included.
const upTimeout = time.Hour

// bootTimeout is for a machine or all of them to come up, on a host that has
// other things to do.
const bootTimeout = 5 * time.Minute

// existing deals with what is in the folder already. It returns neither cluster
// nor error if the folder is free.
func existing(ctx context.Context, o Options) (*Cluster, error) {
	s, err := readState(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		free, err := empty(o.Dir)
		if err == nil && !free {
			err = fmt.Errorf("cluster: Dir %s is not empty, and no cluster's", o.Dir)
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	c := newCluster(s)
	if !s.Ready || !c.machine(controlPlane).Alive() {
		return nil, clearAway(ctx, c)
	}
	if !s.Options.same(o) {
		return nil, fmt.Errorf("cluster: in %s another cluster is up (%s): take it down first", o.Dir, s.Options)
	}
	c.options.Log = o.Log
	if err := c.eachNode(ctx, c.powerOn); err != nil {
		return nil, err
	}
	all := []*machine.Machine{}
	for _, name := range c.Machines() {
		all = append(all, c.machine(name))
	}
	if err := died(ctx, all); err != nil {
		return nil, fmt.Errorf("cluster: that of %s is up, but not whole: take it down first: %w", o.Dir, err)
	}
	return c, nil
}

// clearAway removes a dead cluster, but not the folder, which is locked.
func clearAway(ctx context.Context, c *Cluster) error {
	if err := c.off(ctx); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.options.Dir)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(c.options.Dir + "/" + e.Name()); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
	}
	return nil
}

// build makes everything, as much of it at once as can be.
func (c *Cluster) build(ctx context.Context, module string) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	log := c.stopwatch()
	images := make(chan struct{})
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := c.options.writeImages(inner, module); err != nil {
			return err
		}
		log("images written")
		close(images)
		return nil
	})
	if err := c.options.pki().create(c.options); err != nil {
		return errors.Join(fmt.Errorf("cluster: %w", err), group.Wait())
	}
	group.Go(func() error { return c.startMachines(inner, images, log) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := c.eachNode(ctx, func(ctx context.Context, i int) error {
		if err := c.startAgents(ctx, i); err != nil {
			return err
		}
		return c.awaitNode(ctx, i, time.Time{})
	}); err != nil {
		return err
	}
	if err := c.awaitAccounts(ctx); err != nil {
		return err
	}
	if err := c.tellPodNetworks(ctx); err != nil {
		return err
	}
	log("nodes ready")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Ready = true
	return c.state.write()
}

// startMachines starts all machines, joins them, and starts on each what needs
// no other: the control plane, and the container runtimes with their images.
func (c *Cluster) startMachines(ctx context.Context, images <-chan struct{}, log func(string)) error {
	group, inner := errgroup.WithContext(ctx)
	for _, name := range c.Machines() {
		group.Go(func() error { return c.boot(inner, name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := c.options.wireControlPlane(c.machine(controlPlane)); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	log("machines started")
	group, inner = errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := c.startControlPlane(inner); err != nil {
			return err
		}
		log("control plane ready")
		return nil
	})
	for i := 1; i <= c.options.Nodes; i++ {
		group.Go(func() error { return c.furnishNode(inner, i, images) })
	}
	return group.Wait()
}

// boot starts one machine, and writes it down.
func (c *Cluster) boot(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	s, err := c.options.spec(name)
	if err != nil {
		return err
	}
	m, err := machine.Start(ctx, s, func(p machine.Process) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.state.Machines[name] = p
		return c.state.write()
	})
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.machines[name] = m
	return nil
}

// furnishNode wires a node, starts its container runtime and loads the images.
func (c *Cluster) furnishNode(ctx context.Context, i int, images <-chan struct{}) error {
	if err := c.options.wireNode(ctx, c.machine(controlPlane), c.machine(nodeName(i)), i); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := c.options.configureNode(i); err != nil {
		return fmt.Errorf("cluster: node %s: %w", nodeName(i), err)
	}
	if err := c.startRuntime(ctx, i); err != nil {
		return err
	}
	select {
	case <-images:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, archive := range c.options.imageArchives() {
		if err := c.loadOn(ctx, i, archive); err != nil {
			return err
		}
	}
	return nil
}

// stopwatch returns a function that logs what was reached, and when.
func (c *Cluster) stopwatch() func(what string) {
	start := time.Now()
	return func(what string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		fmt.Fprintf(c.options.Log, "%6.1f s  %s\n", time.Since(start).Seconds(), what)
	}
}

// String says what cluster it is, in one line.
func (o Options) String() string {
	family := "IPv4"
	if o.DualStack {
		family = "dual stack"
	}
	return fmt.Sprintf("%d nodes, %s", o.Nodes, strings.Join([]string{family, o.PodNetwork + " pods", "kube-proxy " + o.ProxyMode, o.Runtime}, ", "))
}
