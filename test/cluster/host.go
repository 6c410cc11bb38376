//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// packages are what must be installed, as hack/need.sh takes it.
var packages = []string{
	"runc=runc", "nsenter=util-linux", "iptables=iptables", "nft=nftables", "conntrack=conntrack",
	"/bin/bash-static=bash-static", "/bin/busybox=busybox-static",
}

// pluginFolders are where CNI plugins may be: Debian's, and everybody else's.
var pluginFolders = []string{"/usr/lib/cni", "/opt/cni/bin"}

// prepareHost refuses a host that will not do, and has what is missing
// installed, or says what is.
func prepareHost(ctx context.Context, o Options, module string) error {
	if os.Geteuid() != 0 {
		return errors.New("cluster: must be root: it makes namespaces, mounts and control groups")
	}
	if err := realNode("/"); err != nil {
		return err
	}
	needs := packages[:len(packages):len(packages)]
	if o.Runtime == Containerd1 {
		needs = append(needs, "containerd=containerd")
	}
	if _, err := plugins(); err != nil {
		needs = append(needs, pluginFolders[0]+"/ptp=containernetworking-plugins")
	}
	c := exec.CommandContext(ctx, filepath.Join(module, "hack", "need.sh"), needs...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("cluster: %w: %s", err, strings.TrimSpace(string(out)))
	}
	if _, err := os.Stat("/proc/sys/net/bridge"); o.PodNetwork == Bridge && err != nil {
		return errors.New("cluster: PodNetwork bridge: the kernel passes nothing that is bridged to iptables and nftables, so neither Services nor policies can work between pods of one node: run `modprobe br_netfilter`")
	}
	var f unix.Statfs_t
	if err := unix.Statfs(o.Dir, &f); err != nil {
		return fmt.Errorf("cluster: %s: %w", o.Dir, err)
	}
	if f.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("cluster: Dir %s is on an overlay file system, as in a container: containers cannot be put on it; name a folder on a volume or a tmpfs", o.Dir)
	}
	return nil
}

// plugins finds the folder of the CNI plugins.
func plugins() (string, error) {
	for _, folder := range pluginFolders {
		if _, err := os.Stat(filepath.Join(folder, "ptp")); err == nil {
			return folder, nil
		}
	}
	return "", fmt.Errorf("cluster: no CNI plugins in %s", strings.Join(pluginFolders, " or "))
}

// nodeMarks are files that a node of a real cluster has, whoever made it.
var nodeMarks = []string{
	"etc/kubernetes/kubelet.conf", "etc/kubernetes/admin.conf", "etc/kubernetes/manifests/kube-apiserver.yaml",
	"var/lib/kubelet/config.yaml", "var/lib/kubelet/kubeconfig", "var/lib/kubelet/pki/kubelet-client-current.pem",
	"var/lib/rancher/k3s", "var/lib/rancher/rke2", "var/lib/k0s", "var/snap/microk8s",
}

// realNode refuses a machine that is a node of a real cluster. The clusters of
// this package would not touch it, but share its kernel and its memory, and
// whoever tests there has most likely taken the wrong machine.
func realNode(root string) error {
	for _, mark := range nodeMarks {
		if _, err := os.Stat(filepath.Join(root, mark)); err == nil {
			return fmt.Errorf("cluster: this machine is a node of a Kubernetes cluster, as %s shows: make test clusters elsewhere", filepath.Join(root, mark))
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("cluster: %w", err)
		}
	}
	return kubeletRuns(filepath.Join(root, "proc"))
}

// kubeletRuns refuses where a kubelet runs in the host's own network and
// process namespaces: one of a test cluster has others.
func kubeletRuns(proc string) error {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	host := namespaces(proc, "1")
	for _, e := range entries {
		pid := e.Name()
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(proc, pid, "comm"))
		if strings.TrimSpace(string(name)) == "kubelet" && host != "" && namespaces(proc, pid) == host {
			return fmt.Errorf("cluster: this machine is a node of a Kubernetes cluster: process %s is its kubelet: make test clusters elsewhere", pid)
		}
	}
	return nil
}

// namespaces names those of a process that a test cluster has of its own;
// empty if they cannot be told.
func namespaces(proc, pid string) string {
	var all []string
	for _, kind := range []string{"net", "pid"} {
		link, err := os.Readlink(filepath.Join(proc, pid, "ns", kind))
		if err != nil {
			return ""
		}
		all = append(all, link)
	}
	return strings.Join(all, " ")
}

// mayLowerOOMScores tells whether this process has CAP_SYS_RESOURCE, without
// which nobody may make a process less likely to be killed for want of memory.
func mayLowerOOMScores() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// moduleFolder finds Tierwall's source: hack/kube.sh and small programs for the
// images are in it.
func moduleFolder() (string, error) {
	var starts []string
	if here, err := os.Getwd(); err == nil {
		starts = append(starts, here)
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	for _, dir := range starts {
		for {
			b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && strings.HasPrefix(string(b), "module github.com/tierwall/tierwall\n") {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
			dir = filepath.Dir(dir)
		}
	}
	return "", errors.New("cluster: Tierwall's source is not found: work in its folder")
}

// kubePrograms are what hack/kube.sh must have built.
func (o Options) kubePrograms() []string {
	all := []string{"kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "agnhost"}
	if o.Runtime == Containerd2 {
		all = append(all, "containerd", "containerd-shim-runc-v2", "ctr")
	}
	return all
}

// findPrograms fills in the folder of the programs and makes sure that they are there.
func findPrograms(ctx context.Context, o *Options, module string) error {
	if o.Programs == "" {
		c := exec.CommandContext(ctx, filepath.Join(module, "hack", "kube.sh"), o.kubePrograms()...)
		c.Stderr = o.Log
		out, err := c.Output()
		if err != nil {
			return fmt.Errorf("cluster: hack/kube.sh %s: %w", strings.Join(o.kubePrograms(), " "), err)
		}
		o.Programs = strings.TrimSpace(string(out))
	}
	for _, p := range o.kubePrograms() {
		if _, err := os.Stat(filepath.Join(o.Programs, p)); err != nil {
			return fmt.Errorf("cluster: Programs: %w", err)
		}
	}
	return nil
}

// lookPath finds a program of the host, which may be in a folder of root's only.
func lookPath(name string) (string, error) {
	for _, folder := range strings.Split(searchPath, ":") {
		file := filepath.Join(folder, name)
		if info, err := os.Stat(file); err == nil && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("cluster: no %s in %s", name, searchPath)
}

// searchPath is the PATH of every service.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
