//go:build linux

package machine

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Spec says what a machine looks like. It travels to process 1 as JSON.
type Spec struct {
	// Name is the host name.
	Name string `json:"name"`
	// Dir is the absolute path of a folder of the host for the machine alone: its
	// disk is in Dir/disk and stays from one start to the next, its logs are in
	// Dir/log.
	Dir string `json:"dir"`
	// Cgroup is where its processes are, below the root of each hierarchy, as in
	// "cluster/n1"; empty leaves them where the caller is. It is made by [Start]
	// and removed by [RemoveCgroup].
	Cgroup string `json:"cgroup,omitempty"`
	// Overlays are folders of the host that the machine sees and may write to:
	// what it writes is on its disk. Those that the host lacks are passed over.
	Overlays []string `json:"overlays,omitempty"`
	// Folders are the machine's own, on its disk, empty at first, whatever the
	// host has there. They must be below one of Overlays, or exist.
	Folders []string `json:"folders,omitempty"`
	// Binds are folders of the host that appear elsewhere in the machine.
	Binds []Bind `json:"binds,omitempty"`
	// Empty are files that are there, empty, when the machine has started, as
	// below /run, which does not keep them.
	Empty []string `json:"empty,omitempty"`
	// Sysctls are set at the start, in order: names below /proc/sys. A name that
	// the kernel lacks is passed over.
	Sysctls []Sysctl `json:"sysctls,omitempty"`
	// Covered are names below /proc/sys that belong to the whole kernel: the
	// machine sees plain files there that start with the host's values.
	Covered []string `json:"covered,omitempty"`
}

// Bind shows Source of the host at Target of the machine.
type Bind struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// Sysctl is a name below /proc/sys and its value.
type Sysctl struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Service is a program that process 1 starts and does not start again.
type Service struct {
	// Name is that of its log file too: Dir/log/Name.log.
	Name string `json:"name"`
	// Command has the absolute path of the program, and its arguments.
	Command []string `json:"command"`
	// Env is the whole environment.
	Env []string `json:"env,omitempty"`
}

// Status tells how a service is.
type Status struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
	// Exit says how it ended, as in "exit status 1"; empty while it runs.
	Exit string `json:"exit,omitempty"`
}

// covered says below which folders a machine sees other things than the host,
// so that a Dir there could not be seen from inside.
var covered = []string{"/run", "/var/run", "/proc", "/sys"}

// validate refuses what could not work, before anything is made.
func (s *Spec) validate() error {
	if s.Name == "" || strings.ContainsAny(s.Name, "/ \x00") {
		return fmt.Errorf("machine: name %q is no host name", s.Name)
	}
	if err := CheckFolder(s.Dir, s.Overlays); err != nil {
		return fmt.Errorf("machine %s: %w", s.Name, err)
	}
	for _, p := range append(append([]string{}, s.Overlays...), s.Folders...) {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" {
			return fmt.Errorf("machine %s: %q is no clean absolute path of a folder", s.Name, p)
		}
	}
	return nil
}

// CheckFolder says why dir cannot hold the disk of a machine that has these
// overlays; nil if it can.
func CheckFolder(dir string, overlays []string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("folder %q: not a clean absolute path", dir)
	}
	// These separate the options of an overlay mount and the fields of mountinfo.
	if strings.ContainsAny(dir, ":,\\ \t\n\"'") {
		return fmt.Errorf("folder %q: has a character that mount options cannot hold", dir)
	}
	for _, c := range append(append([]string{}, covered...), overlays...) {
		if dir == c || strings.HasPrefix(dir, c+"/") {
			return fmt.Errorf("folder %s: a machine has its own %s and would not see it", dir, c)
		}
	}
	return nil
}

// errNoService is what is said of a service that was never started.
var errNoService = errors.New("no such service was started")
