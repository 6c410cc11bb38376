//go:build linux

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put makes a file, or a link where content begins with an arrow.
func put(t *testing.T, root, path, content string) {
	t.Helper()
	file := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if target, link := strings.CutPrefix(content, "->"); link {
		err = os.Symlink(target, file)
	} else {
		err = os.WriteFile(file, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fakeHost is a file system with two processes: 1, and a kubelet 4242.
func fakeHost(t *testing.T, kubeletNetwork, kubeletProcesses string) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "proc/1/comm", "init\n")
	put(t, root, "proc/1/ns/net", "->net:[1]")
	put(t, root, "proc/1/ns/pid", "->pid:[1]")
	put(t, root, "proc/4242/comm", "kubelet\n")
	put(t, root, "proc/4242/ns/net", "->"+kubeletNetwork)
	put(t, root, "proc/4242/ns/pid", "->"+kubeletProcesses)
	put(t, root, "proc/sys/kernel/ostype", "Linux\n")
	return root
}

func TestRealNode(t *testing.T) {
	for _, c := range []struct {
		name, network, processes, file, want string
	}{
		{name: "kubelet of a test cluster", network: "net:[2]", processes: "pid:[2]"},
		{name: "kubelet in a network of its own", network: "net:[2]", processes: "pid:[1]"},
		{name: "the host's kubelet", network: "net:[1]", processes: "pid:[1]", want: "process 4242 is its kubelet"},
		{name: "kubeadm", network: "net:[2]", processes: "pid:[2]", file: "etc/kubernetes/kubelet.conf", want: "etc/kubernetes/kubelet.conf"},
		{name: "managed node", network: "net:[2]", processes: "pid:[2]", file: "var/lib/kubelet/kubeconfig", want: "var/lib/kubelet/kubeconfig"},
		{name: "k3s", network: "net:[2]", processes: "pid:[2]", file: "var/lib/rancher/k3s/server/token", want: "var/lib/rancher/k3s"},
		{name: "empty folders that programs leave behind", network: "net:[2]", processes: "pid:[2]", file: "var/lib/kubelet/device-plugins/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fakeHost(t, c.network, c.processes)
			if c.file != "" {
				put(t, root, c.file, "x")
			}
			err := realNode(root)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, not %q", err, c.want)
			}
		})
	}
}

func TestModuleFolder(t *testing.T) {
	dir, err := moduleFolder()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "hack", "kube.sh")); err != nil {
		t.Error(err)
	}
}
