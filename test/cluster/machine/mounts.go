//go:build linux

package machine

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// private is a folder below the machine's /run for what it needs itself.
const private = "/run/tierwall-machine"

// sysctlRoot is before every name of a sysctl.
const sysctlRoot = "/proc/sys/"

// mountAll gives a new mount namespace the machine's view. It runs in process 1
// before anything else does.
func mountAll(s *Spec) error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := detachForeign(); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	binds, err := openSources(s)
	if err != nil {
		return err
	}
	if err := mountRun(); err != nil {
		return err
	}
	if err := mountSys(); err != nil {
		return err
	}
	for _, folder := range s.Overlays {
		if err := mountOverlay(s, folder); err != nil {
			return err
		}
	}
	for _, b := range binds {
		if err := b.mount(); err != nil {
			return err
		}
	}
	for _, name := range s.Covered {
		if err := coverSysctl(s, name); err != nil {
			return err
		}
	}
	for _, file := range s.Empty {
		if err := createEmpty(file); err != nil {
			return err
		}
	}
	// The kubelet passes mounts on to pods and takes them back: they travel only
	// between shared mounts. The peers are all inside this namespace.
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// detachForeign takes away mounts of the host that are none of the machine's
// business and whose copies would keep things alive after the host has given
// them up: other network namespaces, and the roots of other containers.
func detachForeign() error {
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		m := mounts[i]
		foreign := m.kind == "nsfs" || m.kind == "overlay" || strings.HasPrefix(m.point, "/run/")
		if m.point == "/" || !foreign {
			continue
		}
		// What a mount above it took along is not there any more.
		if err := unix.Unmount(m.point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot detach %s: %w", m.point, err)
		}
	}
	return nil
}

// mountPoint is one line of mountinfo: where, and what kind of file system.
type mountPoint struct{ point, kind string }

// readMounts reads a mountinfo file.
func readMounts(file string) ([]mountPoint, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []mountPoint
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// unescape undoes how the kernel writes blanks and the like in a path.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseMount takes the fifth field and the one after the separator.
func parseMount(line string) (mountPoint, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 5 || len(rest) < 1 {
		return mountPoint{}, false
	}
	return mountPoint{point: unescape.Replace(fields[4]), kind: rest[0]}, true
}

// source is a folder of the host that was opened before anything covered it.
type source struct {
	fd     int
	target string
}

// openSources opens the machine's own folders and the binds, in that order.
func openSources(s *Spec) ([]source, error) {
	var all []source
	open := func(path, target string) error {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open %s for %s: %w", path, target, err)
		}
		all = append(all, source{fd: fd, target: target})
		return nil
	}
	for _, folder := range s.Folders {
		path := filepath.Join(s.Dir, "disk", "folders", folder)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
		if err := open(path, folder); err != nil {
			return nil, err
		}
	}
	for _, b := range s.Binds {
		if err := open(b.Source, b.Target); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// mount shows the source at its target, which is made if need be.
func (b source) mount() error {
	defer func() { _ = unix.Close(b.fd) }()
	if err := os.MkdirAll(b.target, 0o755); err != nil {
		return err
	}
	return mount(fmt.Sprintf("/proc/self/fd/%d", b.fd), b.target, "", unix.MS_BIND|unix.MS_REC, "")
}

// mountRun gives the machine an empty /run, and /var/run with it.
func mountRun() error {
	if err := mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, folder := range []string{private, "/run/lock"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	// A link nearly everywhere.
	if info, err := os.Lstat("/var/run"); err == nil && info.IsDir() {
		return mount("/run", "/var/run", "", unix.MS_BIND, "")
	}
	return nil
}

// mountSys shows the devices of the machine's own network in /sys. Control
// groups are kept as the host has them.
func mountSys() error {
	const aside = private + "/cgroup"
	if err := os.MkdirAll(aside, 0o755); err != nil {
		return err
	}
	if err := mount("/sys/fs/cgroup", aside, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := mount(aside, "/sys/fs/cgroup", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	return os.Remove(aside)
}

// mountOverlay keeps what is written below a folder of the host on the disk.
func mountOverlay(s *Spec, folder string) error {
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	disk := filepath.Join(s.Dir, "disk", "overlays", strings.ReplaceAll(folder[1:], "/", "-"))
	for _, part := range []string{"upper", "work"} {
		if err := os.MkdirAll(filepath.Join(disk, part), 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", folder, disk, disk)
	return mount("overlay", folder, "overlay", 0, options)
}

// coverSysctl puts a plain file with the host's value over a sysctl.
func coverSysctl(s *Spec, name string) error {
	target := sysctlRoot + name
	value, err := os.ReadFile(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	file := filepath.Join(private, "sysctl", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, value, 0o644); err != nil {
		return err
	}
	if err := mount(file, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("machine %s: %w", s.Name, err)
	}
	return nil
}

// createEmpty makes an empty file and the folders above it.
func createEmpty(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// mount is mount(2) with an error that says what was mounted where.
func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("cannot mount %q at %s (type %q, flags %#x, options %q): %w", source, target, kind, flags, options, err)
	}
	return nil
}
