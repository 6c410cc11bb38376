//go:build linux

package cluster

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// Services of a node.
const (
	containerd = "containerd"
	kubelet    = "kubelet"
	kubeProxy  = "kube-proxy"
)

// spec is the machine of cp or of a node.
func (o Options) spec(name string) (machine.Spec, error) {
	s := machine.Spec{
		Name: name, Dir: o.machineDir(name), Cgroup: o.cgroup(name),
		Overlays: overlays,
		Sysctls:  o.networkSysctls(name),
		// The kubelet sets these for the whole kernel.
		Covered: []string{
			"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
			"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
		},
	}
	if name == controlPlane {
		s.Folders = []string{"/var/lib/etcd"}
		return s, nil
	}
	plugins, err := plugins()
	if err != nil {
		return s, err
	}
	s.Folders = []string{
		"/etc/cni", "/etc/containerd", "/etc/nri", "/opt/cni", "/opt/containerd", "/opt/nri",
		"/var/lib/cni", "/var/lib/containerd", kubeletFolder, "/var/log/containers", "/var/log/pods",
	}
	s.Binds = []machine.Bind{{Source: plugins, Target: pluginPath}}
	s.Empty = []string{"/run/xtables.lock"}
	return s, nil
}

// machineDir is the folder of a machine: its disk, its logs.
func (o Options) machineDir(name string) string { return filepath.Join(o.Dir, name) }

// config is where a file of a node's configuration is, on the host and inside.
func (o Options) config(i int, name string) string {
	return filepath.Join(o.machineDir(nodeName(i)), "config", name)
}

// configureNode writes the configuration of node i.
func (o Options) configureNode(i int) error {
	restrict := !mayLowerOOMScores()
	network, err := o.networkConfig(i)
	if err != nil {
		return err
	}
	daemon, err := o.containerdConfig(restrict)
	if err != nil {
		return err
	}
	agent, err := o.kubeletConfig(i, restrict)
	if err != nil {
		return err
	}
	proxy, err := o.proxyConfig(i, restrict)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		o.config(i, "containerd.toml"): daemon,
		o.config(i, "kubelet.yaml"):    agent,
		o.config(i, "kube-proxy.yaml"): proxy,
		// The machine sees it as /etc/cni/net.d.
		filepath.Join(o.machineDir(nodeName(i)), "disk", "folders", "etc", "cni", "net.d", "10-pods.conflist"): network,
	}
	for file, content := range files {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// runtimeProgram is the path of containerd or ctr.
func (o Options) runtimeProgram(name string) (string, error) {
	if o.Runtime == Containerd2 {
		return o.program(name), nil
	}
	return lookPath(name)
}

func (o Options) containerdService(i int) (machine.Service, error) {
	program, err := o.runtimeProgram(containerd)
	if err != nil {
		return machine.Service{}, err
	}
	return machine.Service{
		Name:    containerd,
		Command: []string{program, "--config=" + o.config(i, "containerd.toml")},
		// The shim is found in PATH, and must be that of this containerd.
		Env: []string{"PATH=" + filepath.Dir(program) + ":" + searchPath, "HOME=/root"},
	}, nil
}

func (o Options) kubeletService(i int) machine.Service {
	return o.service(kubelet, o.kubeletFlags(i, o.config(i, "kubelet.yaml"))...)
}

func (o Options) proxyService(i int) machine.Service {
	return o.service(kubeProxy, "--config="+o.config(i, "kube-proxy.yaml"))
}

// startRuntime starts containerd of node i and waits until it answers.
func (c *Cluster) startRuntime(ctx context.Context, i int) error {
	m := c.machine(nodeName(i))
	s, err := c.options.containerdService(i)
	if err != nil {
		return err
	}
	if err := m.StartService(ctx, s); err != nil {
		return err
	}
	return await(ctx, "containerd of "+m.Name(), []*machine.Machine{m}, func() error {
		// The socket of NRI is there as long as that of containerd's own.
		return m.Listens(ctx, containerdSocket)
	})
}

// startAgents starts kubelet and kube-proxy of node i.
func (c *Cluster) startAgents(ctx context.Context, i int) error {
	m := c.machine(nodeName(i))
	for _, s := range []machine.Service{c.options.kubeletService(i), c.options.proxyService(i)} {
		if err := m.StartService(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// eachNode calls do for every node at once.
func (c *Cluster) eachNode(ctx context.Context, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := 1; i <= c.options.Nodes; i++ {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
