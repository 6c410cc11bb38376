//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where every system has its hierarchies of control groups.
const cgroupRoot = "/sys/fs/cgroup"

// own is the group of process 1, below the machine's: on a system of version 2
// a group with groups below it may hold no processes.
const own = "machine"

// hierarchy is a mounted tree of control groups.
type hierarchy struct {
	path string
	v2   bool
}

// hierarchies lists the trees: one of version 2, or several of version 1,
// perhaps with one of version 2 beside them that has no controllers.
func hierarchies() ([]hierarchy, error) {
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []hierarchy
	seen := map[string]bool{}
	for _, m := range mounts {
		below := m.point == cgroupRoot || strings.HasPrefix(m.point, cgroupRoot+"/")
		if !below || seen[m.point] || m.kind != "cgroup" && m.kind != "cgroup2" {
			continue
		}
		seen[m.point] = true
		all = append(all, hierarchy{path: m.point, v2: m.kind == "cgroup2"})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no control groups are mounted below %s", cgroupRoot)
	}
	return all, nil
}

// makeCgroup makes the group of a machine, and that of its process 1, in every
// hierarchy. A group that is there already is as good.
func makeCgroup(name string) error {
	if name == "" {
		return nil
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		path := h.path
		for _, part := range strings.Split(name, "/") {
			if h.v2 {
				if err := passControllers(path); err != nil {
					return err
				}
			}
			path = filepath.Join(path, part)
			if err := makeGroup(path); err != nil {
				return err
			}
		}
		if h.v2 {
			if err := passControllers(path); err != nil {
				return err
			}
		}
		if err := makeGroup(filepath.Join(path, own)); err != nil {
			return err
		}
	}
	return nil
}

// makeGroup makes one group. In version 1's cpuset a group takes no process
// before it is told its CPUs and its memory.
func makeGroup(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make a control group: %w", err)
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		file := filepath.Join(path, name)
		now, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(now)) != "" {
			continue
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil || strings.TrimSpace(string(above)) == "" {
			continue
		}
		if err := os.WriteFile(file, above, 0); err != nil {
			return fmt.Errorf("cannot set up a control group: %w", err)
		}
	}
	return nil
}

// controllers are what a kubelet wants below a group of version 2. In the
// hierarchy's root most systems have passed them on already.
var controllers = []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}

// passControllers lets the groups below one of version 2 have its controllers.
// One that cannot be passed on is passed over: the kubelet says which it needs.
func passControllers(path string) error {
	b, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("cannot read a control group: %w", err)
	}
	for _, c := range strings.Fields(string(b)) {
		if slices.Contains(controllers, c) {
			_ = os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
	}
	return nil
}

// enterCgroup moves a process into the group of process 1.
func enterCgroup(name string, pid int) error {
	if name == "" {
		return nil
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		file := filepath.Join(h.path, name, own, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("cannot move process 1 into its control group: %w", err)
		}
	}
	return nil
}

// RemoveCgroup removes a group and all below it from every hierarchy. The
// kernel may take a moment to let go of processes that have just ended; it is
// an error if they are still there when ctx ends. No such group is none.
func RemoveCgroup(ctx context.Context, name string) error {
	if name == "" || strings.Contains(name, "..") {
		return nil
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		top := filepath.Join(h.path, name)
		var last error
		err := poll(ctx, func() bool {
			last = removeTree(top)
			return last == nil
		})
		if err != nil {
			return fmt.Errorf("control group %s stays: %w", top, errors.Join(last, err))
		}
	}
	return nil
}

// removeTree removes a group after those below it.
func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
