package suites

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Target is a cluster that is up.
type Target struct {
	// Kubeconfig is the file of an administrator, as the commands below see it.
	Kubeconfig string
	// Nodes is how many nodes there are; the second suite wants two or more.
	Nodes int
	// Command makes a command that runs where the API server can be reached; nil is
	// here.
	Command func(ctx context.Context, argv ...string) *exec.Cmd
	// OwnSCTP says that the agnhost image there brings its own SCTP (package
	// test/cluster/image/sctp), so that it does without the kernel's sockets.
	OwnSCTP bool
	// Configuration goes into the table.
	Configuration Configuration
}

// command is Target.Command, ended by an interrupt first, for the suites clean
// up, and with all its children.
func (t Target) command(ctx context.Context, argv ...string) *exec.Cmd {
	var c *exec.Cmd
	if t.Command == nil {
		c = exec.CommandContext(ctx, argv[0], argv[1:]...)
	} else {
		c = t.Command(ctx, argv...)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGINT) }
	c.WaitDelay = 30 * time.Second
	return c
}

// Configuration describes a cluster in the table.
type Configuration struct {
	PodNetwork string `json:"podNetwork"` // "routed", "bridge"
	ProxyMode  string `json:"proxyMode"`  // "nftables", "iptables"
	Families   string `json:"families"`   // "IPv4", "IPv4 and IPv6"
	Runtime    string `json:"runtime"`    // "containerd 2.4.2"
	Dataplane  string `json:"dataplane"`  // "NFTables", "IPTables"; empty: there is no Tierwall
}

func (c Configuration) String() string {
	var parts []string
	for _, p := range []string{c.PodNetwork, c.ProxyMode, c.Families, c.Runtime, c.Dataplane} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}
