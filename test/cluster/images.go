//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tierwall/tierwall/test/cluster/image"
)

// imageArchives are the images that every node has from the start.
func (o Options) imageArchives() []string {
	return []string{filepath.Join(o.Dir, "images", "pause.tar"), filepath.Join(o.Dir, "images", "agnhost.tar")}
}

// writeImages builds them.
func (o Options) writeImages(ctx context.Context, module string) error {
	archives := o.imageArchives()
	work := filepath.Dir(archives[0])
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	b := image.Builder{Module: module, Work: work}
	pause, err := b.Pause(ctx)
	if err != nil {
		return err
	}
	agnhost, err := b.Agnhost(ctx, o.program("agnhost"))
	if err != nil {
		return err
	}
	return errors.Join(pause.WriteFile(archives[0]), agnhost.WriteFile(archives[1]))
}

// LoadImage gives all nodes that are on the images of a docker archive, such as
// package image writes. Pods can be made of them when it returns.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	file, err := filepath.Abs(archive)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return c.eachNode(ctx, func(ctx context.Context, i int) error {
		if !c.machine(nodeName(i)).Alive() {
			return nil
		}
		return c.loadOn(ctx, i, file)
	})
}

// loadOn imports an archive on node i.
func (c *Cluster) loadOn(ctx context.Context, i int, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	defer func() { _ = f.Close() }()
	load, err := c.ctr(ctx, i, "images", "import", "-")
	if err != nil {
		return err
	}
	// The machine may not see the file, if it is below a folder of its own.
	load.Stdin = f
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("cluster: node %s cannot import %s: %w\n%s", nodeName(i), archive, err, strings.TrimSpace(string(out)))
	}
	return c.awaitImages(ctx, i)
}

// awaitImages waits until the part of containerd that serves the kubelet has
// taken note of all images: it labels them then.
func (c *Cluster) awaitImages(ctx context.Context, i int) error {
	return await(ctx, "the images of "+nodeName(i), nil, func() error {
		list, err := c.ctr(ctx, i, "images", "list")
		if err != nil {
			return err
		}
		// Warnings are on the other channel.
		out, err := list.Output()
		if err != nil {
			return fmt.Errorf("cannot list images: %w", err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		for _, line := range lines[1:] {
			if !strings.Contains(line, "io.cri-containerd.image=managed") {
				return fmt.Errorf("not yet known: %s", line)
			}
		}
		return nil
	})
}

// ctr prepares containerd's own client on node i, in the kubelet's namespace.
func (c *Cluster) ctr(ctx context.Context, i int, arguments ...string) (*exec.Cmd, error) {
	program, err := c.options.runtimeProgram("ctr")
	if err != nil {
		return nil, err
	}
	return c.Command(ctx, nodeName(i), append([]string{program, "--namespace", "k8s.io"}, arguments...)...), nil
}
