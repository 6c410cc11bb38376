//go:build linux

package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// PowerOff cuts a node's power: all its processes end at once, its pods'
// networks and its kernel tables are gone, its disk stays. A node that is off is
// no error.
func (c *Cluster) PowerOff(ctx context.Context, node string) error {
	if c.options.nodeIndex(node) == 0 {
		return fmt.Errorf("cluster: there is no node %q", node)
	}
	ctx, cancel := context.WithTimeout(ctx, offTimeout)
	defer cancel()
	unlock, err := lock(ctx, c.options.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.refresh(); err != nil {
		return err
	}
	if err := c.machine(node).Kill(ctx); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := machine.RemoveCgroup(ctx, c.options.cgroup(node)); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

// PowerOn starts a node that is off, with its old disk and empty kernel tables.
// It returns when the node has reported that it is Ready, or, while the API
// server is stopped, when its programs run. A node that is on is no error.
func (c *Cluster) PowerOn(ctx context.Context, node string) error {
	i := c.options.nodeIndex(node)
	if i == 0 {
		return fmt.Errorf("cluster: there is no node %q", node)
	}
	unlock, err := lock(ctx, c.options.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.refresh(); err != nil {
		return err
	}
	return c.powerOn(ctx, i)
}

// powerOn does it while the folder is locked.
func (c *Cluster) powerOn(ctx context.Context, i int) error {
	node := nodeName(i)
	if c.machine(node).Alive() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	since := time.Now()
	if err := c.boot(ctx, node); err != nil {
		return err
	}
	if err := c.options.wireNode(ctx, c.machine(controlPlane), c.machine(node), i); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := c.startRuntime(ctx, i); err != nil {
		return err
	}
	if err := c.startAgents(ctx, i); err != nil {
		return err
	}
	running, err := c.serverRuns(ctx)
	if err != nil || !running {
		return err
	}
	return c.awaitNode(ctx, i, since)
}

// refresh reads what other programs have done to the machines of the cluster.
func (c *Cluster) refresh() error {
	s, err := readState(c.options.Dir)
	if err != nil {
		return fmt.Errorf("cluster: that of %s is gone: %w", c.options.Dir, err)
	}
	fresh := newCluster(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.machines = fresh.state, fresh.machines
	return nil
}
