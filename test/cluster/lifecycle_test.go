//go:build linux && e2e

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tierwall/tierwall/test/cluster/image"
)

// inside names, in the environment, the folder of the cluster whose network
// this test program is to enter.
const inside = "TIERWALL_TEST_INSIDE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(inside); dir != "" {
		if err := reachServer(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// reachServer dials the API server by its address, as any client would.
func reachServer(dir string) error {
	c, err := Open(dir)
	if err != nil {
		return err
	}
	if err := Reexec(c, controlPlane); err != nil {
		return err
	}
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", serverAddress, serverPort), 10*time.Second)
	if err != nil {
		return err
	}
	return connection.Close()
}

// hostState is what a cluster must leave as it was.
type hostState struct {
	mounts, sysctls, links, rules string
	folders                       map[string]bool
}

func lookAtHost(t *testing.T) hostState {
	t.Helper()
	s := hostState{folders: map[string]bool{}}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	s.mounts = string(mounts)
	spec, err := Options{Dir: "/tmp/x", Nodes: 1, Runtime: Containerd2}.spec("n1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(spec.Covered, "net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv6/conf/all/forwarding") {
		value, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			t.Fatal(err)
		}
		s.sysctls += name + "=" + string(value)
	}
	for _, folder := range append(spec.Folders, pluginPath, "/run/containerd", "/run/nri", "/run/xtables.lock", "/usr/libexec/kubernetes") {
		_, err := os.Stat(folder)
		s.folders[folder] = err == nil
	}
	s.links = output(t, exec.Command("ip", "-o", "link"))
	s.rules = output(t, exec.Command("nft", "list", "ruleset"))
	return s
}

func output(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", c, err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

// TestLifecycle takes a cluster of one node through its life.
func TestLifecycle(t *testing.T) {
	before := lookAtHost(t)
	ctx := t.Context()
	o := Options{Dir: filepath.Join(t.TempDir(), "c"), Nodes: 1, Log: testLog{t}}
	c, err := Up(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Run("up again", func(t *testing.T) { upAgain(t, o) })
	t.Run("a pod runs", func(t *testing.T) { podRuns(t, c) })
	t.Run("NRI listens", func(t *testing.T) {
		if err := c.machine("n1").Listens(ctx, "/run/nri/nri.sock"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a program enters the network", func(t *testing.T) {
		self := exec.Command(os.Args[0])
		self.Env = append(os.Environ(), inside+"="+c.options.Dir)
		output(t, self)
	})
	t.Run("images are loaded", func(t *testing.T) { imageLoads(t, c) })
	t.Run("a user is known", func(t *testing.T) { userIsKnown(t, c) })
	t.Run("power", func(t *testing.T) { powerComesBack(t, c) })
	t.Run("server", func(t *testing.T) { serverComesBack(t, c) })
	t.Run("down", func(t *testing.T) { nothingIsLeft(t, c, before) })
}

// testLog writes to the log of a test.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func upAgain(t *testing.T, o Options) {
	again, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Nodes(); len(got) != 1 {
		t.Errorf("nodes %v", got)
	}
	o.DualStack = true
	if _, err := Up(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another cluster is up") {
		t.Errorf("another cluster in the same folder: %v", err)
	}
}

func podRuns(t *testing.T, c *Cluster) {
	output(t, c.Kubectl(t.Context(), "run", "server", "--image="+image.AgnhostNames[0], "--image-pull-policy=IfNotPresent", "--port=8080", "--expose", "--", "netexec"))
	output(t, c.Kubectl(t.Context(), "wait", "pod/server", "--for=condition=Ready", "--timeout=2m"))
	service := output(t, c.Kubectl(t.Context(), "get", "service", "server", "-o=jsonpath={.spec.clusterIP}"))
	// A pod reaches itself by the Service: kube-proxy, the CNI and the API server
	// have all done their part.
	err := wait(t.Context(), func() (bool, error) {
		run := c.Kubectl(t.Context(), "exec", "server", "--", "/agnhost", "connect", "--timeout=2s", service+":8080")
		return run.Run() == nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func imageLoads(t *testing.T, c *Cluster) {
	archive := filepath.Join(t.TempDir(), "i.tar")
	i := image.Image{Names: []string{"example.org/loaded:1"}, Files: []image.File{{Path: "/x", Content: []byte("x")}}}
	if err := i.WriteFile(archive); err != nil {
		t.Fatal(err)
	}
	if err := c.LoadImage(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	if list := output(t, c.ctrList(t, 1)); !strings.Contains(list, "example.org/loaded:1") {
		t.Errorf("images:\n%s", list)
	}
	if err := c.LoadImage(t.Context(), archive+".absent"); err == nil {
		t.Error("an archive that is not there was loaded")
	}
}

func (c *Cluster) ctrList(t *testing.T, i int) *exec.Cmd {
	t.Helper()
	list, err := c.ctr(t.Context(), i, "images", "list", "--quiet")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func userIsKnown(t *testing.T, c *Cluster) {
	config, err := c.UserKubeconfig("jane", "ops")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jane")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	who := output(t, c.Command(t.Context(), "cp", c.Program("kubectl"), "--kubeconfig="+file, "auth", "whoami", "-o=jsonpath={.status.userInfo.username} {.status.userInfo.groups}"))
	if who != `jane ["ops","system:authenticated"]` {
		t.Errorf("the API server sees %s", who)
	}
}

func powerComesBack(t *testing.T, c *Cluster) {
	output(t, c.Command(t.Context(), "n1", "nft", "add", "table", "inet", "left"))
	output(t, c.Command(t.Context(), "n1", "sh", "-c", "echo kept >/var/lib/kubelet/kept"))
	for range 2 {
		if err := c.PowerOff(t.Context(), "n1"); err != nil {
			t.Fatal(err)
		}
	}
	if c.machine("n1").Alive() {
		t.Fatal("n1 is on")
	}
	other, err := Open(c.options.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.PowerOn(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	// c has not been told.
	if err := c.PowerOn(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if tables := output(t, c.Command(t.Context(), "n1", "nft", "list", "tables")); strings.Contains(tables, "left") {
		t.Errorf("tables from before: %s", tables)
	}
	if kept := output(t, c.Command(t.Context(), "n1", "cat", "/var/lib/kubelet/kept")); kept != "kept" {
		t.Errorf("on the disk: %q", kept)
	}
	output(t, c.Kubectl(t.Context(), "wait", "pod/server", "--for=condition=Ready", "--timeout=2m"))
	if err := c.PowerOff(t.Context(), "cp"); err == nil {
		t.Error("cp has no power to cut")
	}
}

func serverComesBack(t *testing.T, c *Cluster) {
	for range 2 {
		if err := c.StopServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Kubectl(t.Context(), "get", "--raw=/readyz").Run(); err == nil {
		t.Error("the API server answers")
	}
	for range 2 {
		if err := c.StartServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	output(t, c.Kubectl(t.Context(), "get", "pods"))
}

func nothingIsLeft(t *testing.T, c *Cluster, before hostState) {
	var pids []int
	for _, m := range c.known() {
		pids = append(pids, m.PID())
	}
	for range 2 {
		if err := c.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range processes {
		line, _ := os.ReadFile(file)
		if bytes.Contains(line, []byte(c.options.Dir)) {
			t.Errorf("%s: %q is still there", file, line)
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + c.options.id())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := filepath.Glob("/sys/fs/cgroup/" + c.options.id())
	if err != nil {
		t.Fatal(err)
	}
	if left := slices.Concat(groups, whole); len(left) > 0 {
		t.Errorf("control groups: %v", left)
	}
	if _, err := os.Stat(c.options.Dir); err == nil {
		t.Errorf("%s is still there", c.options.Dir)
	}
	after := lookAtHost(t)
	if strings.Contains(after.mounts, c.options.Dir) {
		t.Errorf("mounts:\n%s", after.mounts)
	}
	for what, pair := range map[string][2]string{
		"sysctls": {before.sysctls, after.sysctls}, "interfaces": {before.links, after.links}, "rules": {before.rules, after.rules},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s were\n%s\nand are\n%s", what, pair[0], pair[1])
		}
	}
	for folder, was := range before.folders {
		if after.folders[folder] != was {
			t.Errorf("%s is there: %t, was: %t", folder, !was, was)
		}
	}
}

// TestFailureIsReadable puts a program that fails in the place of etcd.
func TestFailureIsReadable(t *testing.T) {
	programs := t.TempDir()
	module, err := moduleFolder()
	if err != nil {
		t.Fatal(err)
	}
	o, err := Options{Dir: filepath.Join(t.TempDir(), "c"), Nodes: 1}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := findPrograms(t.Context(), &o, module); err != nil {
		t.Fatal(err)
	}
	for _, p := range o.kubePrograms() {
		if err := os.Symlink(o.program(p), filepath.Join(programs, p)); err != nil {
			t.Fatal(err)
		}
	}
	broken := filepath.Join(programs, "etcd")
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho 'the disk is on fire' >&2; exit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.Programs = programs
	_, err = Up(t.Context(), o)
	t.Cleanup(func() {
		if err := Down(context.Background(), o.Dir); err != nil {
			t.Error(err)
		}
	})
	for _, want := range []string{"etcd has ended: exit status 7", "the disk is on fire", "etcd.log"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nhas no %q", err, want)
		}
	}
	s, err := readState(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range s.Machines {
		if p.Alive() {
			t.Errorf("%s is still on", name)
		}
	}
}
