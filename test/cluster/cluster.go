//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// Cluster is one that is up. Its methods may be called from several goroutines
// and from several programs at once.
type Cluster struct {
	options Options

	// mu guards what follows.
	mu       sync.Mutex
	state    *state
	machines map[string]*machine.Machine
}

// Open finds a cluster that is up, by its folder.
func Open(dir string) (*Cluster, error) {
	o, err := Options{Dir: dir}.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := readState(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cluster: no cluster in %s: %w", o.Dir, err)
	}
	c := newCluster(s)
	if !s.Ready || !c.machine(controlPlane).Alive() {
		return nil, fmt.Errorf("cluster: that of %s is not up", o.Dir)
	}
	return c, nil
}

// newCluster makes one of what is written down.
func newCluster(s *state) *Cluster {
	c := &Cluster{options: s.Options, state: s, machines: map[string]*machine.Machine{}}
	if c.options.Log == nil {
		c.options.Log = io.Discard
	}
	if c.state.Machines == nil {
		c.state.Machines = map[string]machine.Process{}
	}
	for name, p := range s.Machines {
		c.machines[name] = machine.Open(machine.Spec{Name: name, Dir: c.options.machineDir(name)}, p)
	}
	return c
}

// Options are those that it was made with, defaults filled in.
func (c *Cluster) Options() Options { return c.options }

// Kubeconfig is the file of the administrator, a member of system:masters. Its
// server address is of use inside the cluster's network alone.
func (c *Cluster) Kubeconfig() string { return c.options.pki().kubeconfig("admin") }

// UserKubeconfig makes a kubeconfig for a user by a new client certificate. It
// grants nothing: that is for RBAC.
func (c *Cluster) UserKubeconfig(user string, groups ...string) ([]byte, error) {
	p := c.options.pki()
	der, key, err := p.issue(identity{user: user, groups: groups})
	if err != nil {
		return nil, fmt.Errorf("cluster: certificate of user %s: %w", user, err)
	}
	config, err := p.config(der, key, user)
	if err != nil {
		return nil, fmt.Errorf("cluster: kubeconfig of user %s: %w", user, err)
	}
	return config, nil
}

// Nodes are the names of the nodes: n1, n2, …
func (c *Cluster) Nodes() []string {
	var all []string
	for i := 1; i <= c.options.Nodes; i++ {
		all = append(all, nodeName(i))
	}
	return all
}

// Machines are the names of all machines: cp, n1, n2, …
func (c *Cluster) Machines() []string { return append([]string{controlPlane}, c.Nodes()...) }

// Program is the path of one of the Kubernetes programs, such as kubectl.
func (c *Cluster) Program(name string) string { return c.options.program(name) }

// Command prepares a command inside a machine: in its processes, files, network
// and under its host name, as root. It and its children are killed when ctx
// ends. An unknown machine, or one that is off, is an error of Start.
func (c *Cluster) Command(ctx context.Context, name string, argv ...string) *exec.Cmd {
	return c.machine(name).Command(ctx, argv...)
}

// Kubectl prepares kubectl, as the administrator, in cp's network.
func (c *Cluster) Kubectl(ctx context.Context, arguments ...string) *exec.Cmd {
	return c.Command(ctx, controlPlane, append([]string{c.Program("kubectl"), "--kubeconfig=" + c.Kubeconfig()}, arguments...)...)
}

// Machine is a machine of the cluster, for what this package does not offer:
// its services, its process number, its network.
func (c *Cluster) Machine(name string) (*machine.Machine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[name]
	if m == nil {
		return nil, fmt.Errorf("cluster: there is no machine %q", name)
	}
	if m.Alive() {
		return m, nil
	}
	// Another program may have given it power again.
	if s, err := readState(c.options.Dir); err == nil && s.Machines[name] != c.state.Machines[name] {
		c.state.Machines[name] = s.Machines[name]
		c.machines[name] = machine.Open(machine.Spec{Name: name, Dir: c.options.machineDir(name)}, s.Machines[name])
	}
	return c.machines[name], nil
}

// machine is the same; an unknown one is off.
func (c *Cluster) machine(name string) *machine.Machine {
	m, err := c.Machine(name)
	if err != nil {
		return machine.Open(machine.Spec{Name: name, Dir: c.options.machineDir(name)}, machine.Process{})
	}
	return m
}

// Reexec makes sure that this whole program is in the network of a machine,
// mostly "cp", so that its clients reach 10.200.0.1. It returns nil at once
// where it is; else it runs the program again in the place of this one, with
// the same arguments and environment, and does not return. Call it first in
// main or TestMain.
func Reexec(c *Cluster, name string) error {
	if c == nil {
		return errors.New("cluster: none to enter")
	}
	return c.machine(name).Reexec()
}
