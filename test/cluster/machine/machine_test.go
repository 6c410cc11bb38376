//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// timeout is for a machine that has much else to do.
const timeout = time.Minute

// testSpec is a small machine, with a cgroup that only this test has.
func testSpec(t *testing.T) Spec {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes a machine of namespaces, mounts and control groups")
	}
	group := fmt.Sprintf("tierwall-test-%d", os.Getpid())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := RemoveCgroup(ctx, group); err != nil {
			t.Error(err)
		}
	})
	return Spec{
		Name: "m1", Dir: t.TempDir(), Cgroup: group + "/m1",
		Overlays: []string{"/etc", "/var/lib"},
		Folders:  []string{"/var/lib/machinetest"},
		Empty:    []string{"/run/empty/file"},
		Sysctls:  []Sysctl{{"net/ipv4/ip_forward", "1"}, {"net/no/such/thing", "1"}},
		Covered:  []string{"kernel/panic", "vm/overcommit_memory", "no/such/thing"},
	}
}

// start makes a machine that is gone at the end of the test.
func start(t *testing.T, s Spec) *Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	m, err := Start(ctx, s, func(Process) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// inside runs a shell line in the machine and returns what it says.
func inside(t *testing.T, m *Machine, line string) string {
	t.Helper()
	out, err := m.Command(t.Context(), "sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestMachineHasItsOwn(t *testing.T) {
	hostPanic, err := os.ReadFile("/proc/sys/kernel/panic")
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, testSpec(t))
	for _, c := range []struct{ name, line, want string }{
		{"host name", "hostname", "m1"},
		{"process 1", "tr '\\0' ' ' </proc/1/cmdline", "tierwall-machine m1"},
		{"folder, empty", "ls -A /var/lib/machinetest", ""},
		{"the host's files below it", "test -e /etc/passwd && echo yes", "yes"},
		{"/run", "ls /run && ls /run/empty", "empty\nlock\ntierwall-machine\nfile"},
		{"network", "ls /sys/class/net", "lo"},
		{"loopback", "ping -c1 -W1 127.0.0.1 >/dev/null 2>&1 || cat /sys/class/net/lo/flags", "0x9"},
		{"network sysctl", "cat /proc/sys/net/ipv4/ip_forward", "1"},
		{"kernel sysctl as the host's", "cat /proc/sys/kernel/panic", strings.TrimSpace(string(hostPanic))},
		{"kernel sysctl to be written", "echo 77 >/proc/sys/kernel/panic && cat /proc/sys/kernel/panic", "77"},
		{"shared root", "grep -c ' / / .* shared:' /proc/self/mountinfo", "1"},
		{"control groups", "ls /sys/fs/cgroup >/dev/null && grep -c m1/machine /proc/1/cgroup | grep -v '^0' >/dev/null && echo yes", "yes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := inside(t, m, c.line); got != c.want && (c.name != "loopback" || got != "") {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
	now, err := os.ReadFile("/proc/sys/kernel/panic")
	if err != nil || string(now) != string(hostPanic) {
		t.Errorf("the host's kernel.panic is %q, was %q (%v)", now, hostPanic, err)
	}
}

func TestDiskStaysAndTheRestGoes(t *testing.T) {
	s := testSpec(t)
	m := start(t, s)
	inside(t, m, "echo kept >/var/lib/machinetest/a; echo kept >/etc/tierwall-machine-test; echo lost >/run/b; ip link add dummy type bridge")
	if _, err := os.Stat("/etc/tierwall-machine-test"); err == nil {
		t.Error("a file of the machine is on the host")
	}
	old := m.PID()
	if err := m.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.Alive() {
		t.Fatal("alive after its power was cut")
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", old)); err == nil {
		t.Error("process 1 is still there")
	}
	if err := m.Kill(t.Context()); err != nil {
		t.Errorf("a machine that is off: %v", err)
	}
	if _, err := m.Services(t.Context()); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("a machine that is off says %v", err)
	}
	if err := m.Command(t.Context(), "true").Run(); err == nil {
		t.Error("a command ran on a machine that is off")
	}
	m = start(t, s)
	got := inside(t, m, "cat /var/lib/machinetest/a /etc/tierwall-machine-test; ls /run/b 2>/dev/null; ls /sys/class/net")
	if got != "kept\nkept\nlo" {
		t.Errorf("after the power came back: %q", got)
	}
}

func TestServices(t *testing.T) {
	m := start(t, testSpec(t))
	sleeper := Service{Name: "sleeper", Command: []string{"/bin/sh", "-c", "echo started; exec sleep 1000"}}
	if err := m.StartService(t.Context(), sleeper); err != nil {
		t.Fatal(err)
	}
	if err := m.StartService(t.Context(), sleeper); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second start: %v", err)
	}
	// A child that its parent leaves behind must not stay a zombie.
	if err := m.StartService(t.Context(), Service{Name: "failing", Command: []string{"/bin/sh", "-c", "(sleep 0 &) ; echo bad luck >&2; exit 3"}}); err != nil {
		t.Fatal(err)
	}
	want := []Status{{Name: "failing", Exit: "exit status 3"}, {Name: "sleeper", Running: true}}
	awaitStatus(t, m, want)
	if got := Tail(m.LogFile("failing"), 1); got != "bad luck" {
		t.Errorf("log %q", got)
	}
	if err := m.StopService(t.Context(), "sleeper"); err != nil {
		t.Fatal(err)
	}
	want[1] = Status{Name: "sleeper", Exit: "signal terminated"}
	awaitStatus(t, m, want)
	if err := m.StartService(t.Context(), sleeper); err != nil {
		t.Fatal(err)
	}
	want[1] = Status{Name: "sleeper", Running: true}
	awaitStatus(t, m, want)
	if err := m.StopService(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), errNoService.Error()) {
		t.Errorf("to stop what never started: %v", err)
	}
	if err := m.StartService(t.Context(), Service{Name: "x", Command: []string{"/no/such/program"}}); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("to start what is not there: %v", err)
	}
	if err := poll(deadline(t), func() bool {
		return inside(t, m, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null || true") == ""
	}); err != nil {
		t.Errorf("zombies: %v", err)
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func awaitStatus(t *testing.T, m *Machine, want []Status) {
	t.Helper()
	var got []Status
	err := poll(deadline(t), func() bool {
		got, _ = m.Services(t.Context())
		return slices.Equal(got, want)
	})
	if err != nil {
		t.Fatalf("services are %v, not %v", got, want)
	}
}

func TestDial(t *testing.T) {
	m := start(t, testSpec(t))
	ns, err := m.Network()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = before.Close() }()
	outside, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outside.Close() }()
	if c, err := m.Dial(t.Context(), "tcp", outside.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the machine reaches the host's loopback")
	}
	after, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = after.Close() }()
	if !before.Equal(after) {
		t.Error("the thread did not come home")
	}
}

func TestNobodyTakesNote(t *testing.T) {
	s := testSpec(t)
	full := errors.New("disk is full")
	var p Process
	_, err := Start(deadline(t), s, func(q Process) error { p = q; return full })
	if !errors.Is(err, full) {
		t.Fatalf("error %v", err)
	}
	if err := poll(deadline(t), func() bool { return !p.Alive() }); err != nil {
		t.Error("a machine that nobody took note of stays")
	}
}

func TestBootFailureIsTold(t *testing.T) {
	s := testSpec(t)
	s.Binds = []Bind{{Source: filepath.Join(s.Dir, "missing"), Target: "/opt/x"}}
	_, err := Start(deadline(t), s, func(Process) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "missing for /opt/x") {
		t.Errorf("error %v", err)
	}
}

func TestCommandIsKilledWhole(t *testing.T) {
	m := start(t, testSpec(t))
	ctx, cancel := context.WithCancel(t.Context())
	c := m.Command(ctx, "sh", "-c", "echo on; sleep 4321; true")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = c.Wait()
	err = poll(deadline(t), func() bool { return inside(t, m, "grep -l '[4]321' /proc/[0-9]*/cmdline 2>/dev/null || true") == "" })
	if err != nil {
		t.Error("what the command had started goes on")
	}
}

func TestRemoveCgroupLeavesOthersAlone(t *testing.T) {
	for _, name := range []string{"", "..", "a/../.."} {
		if err := RemoveCgroup(t.Context(), name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := os.Stat(cgroupRoot); err != nil {
		t.Fatal(err)
	}
}
