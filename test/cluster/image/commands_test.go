package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The commands run with nothing but the image around them, extensions included.
func TestIPTablesRunsInItsImage(t *testing.T) {
	commands, err := iptables()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range commands {
		at := filepath.Join(root, f.Path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if f.Link != "" {
			err = os.Symlink(f.Link, at)
		} else {
			err = exec.Command("cp", f.Source, at).Run()
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
	}
	for command, want := range map[string]string{
		"iptables --version":                  "iptables v",
		"ip6tables-legacy-restore --version":  "(legacy)",
		"iptables-nft-save --version":         "(nf_tables)",
		"ip6tables-nft -m set --help":         "set match options",
		"iptables-legacy -j NFLOG --help":     "NFLOG target options",
		"iptables-legacy -m conntrack --help": "conntrack match options",
		"ip6tables-legacy -m icmp6 --help":    "icmpv6 match options",
	} {
		args := strings.Fields(command)
		c := exec.Command("/usr/sbin/"+args[0], args[1:]...)
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{
			Chroot: root, Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: no %q in:\n%s", command, err, want, out)
		}
	}
}
