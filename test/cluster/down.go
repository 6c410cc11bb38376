//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// Down takes the cluster down and removes its folder: no process, mount,
// control group, namespace or file of it remains. A cluster that is down
// already is no error.
func (c *Cluster) Down(ctx context.Context) error { return Down(ctx, c.options.Dir) }

// Down is for a cluster of which only the folder is known, whole or not. A
// folder that is no cluster's is left alone and an error; one that is not there
// is none.
func Down(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := readState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		// Nothing, or what locking has made anew.
		if free, err := empty(dir); err != nil || !free {
			return fmt.Errorf("cluster: %s is no cluster's folder: %w", dir, errors.Join(err, fs.ErrExist))
		}
		return os.Remove(dir)
	}
	if err != nil {
		return err
	}
	if err := newCluster(s).off(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

// offTimeout is for the kernel to take down all machines.
const offTimeout = time.Minute

// off cuts the power of all machines and removes their control groups.
func (c *Cluster) off(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, offTimeout)
	defer cancel()
	var group errgroup.Group
	for _, m := range c.known() {
		group.Go(func() error { return m.Kill(ctx) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := machine.RemoveCgroup(ctx, c.options.id()); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

// known are the machines that were written down.
func (c *Cluster) known() []*machine.Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*machine.Machine
	for name, p := range c.state.Machines {
		all = append(all, machine.Open(machine.Spec{Name: name, Dir: c.options.machineDir(name)}, p))
	}
	return all
}
