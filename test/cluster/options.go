//go:build linux

package cluster

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// Pod networks.
const (
	// Routed gives every pod a routed veth, without a bridge (CNI plugin ptp).
	Routed = "routed"
	// Bridge hangs the pods of a node on a bridge, cni0.
	Bridge = "bridge"
)

// Container runtimes.
const (
	// Containerd2 is built from its module and has NRI.
	Containerd2 = "containerd2"
	// Containerd1 is Debian's, 1.6 in Debian 12, and has no NRI.
	Containerd1 = "containerd1"
)

// Modes of kube-proxy.
const (
	NFTables = "nftables"
	IPTables = "iptables"
)

// Options say what cluster to make. All but Dir have defaults.
type Options struct {
	// Dir holds the cluster's state, disks and logs. It must be empty or absent,
	// on a file system that overlayfs can write to, and not below /run, /etc,
	// /opt, /var/lib or /var/log, of which the machines have their own.
	Dir string `json:"dir"`
	// Nodes is 1 to 9; 0 means 3.
	Nodes int `json:"nodes"`
	// DualStack adds IPv6 to IPv4.
	DualStack bool `json:"dualStack"`
	// PodNetwork is Routed (the default) or Bridge.
	PodNetwork string `json:"podNetwork"`
	// ProxyMode is NFTables (the default) or IPTables.
	ProxyMode string `json:"proxyMode"`
	// Runtime is Containerd2 (the default) or Containerd1.
	Runtime string `json:"runtime"`
	// Programs is the folder of the Kubernetes programs; empty asks hack/kube.sh,
	// which builds what is missing.
	Programs string `json:"programs"`
	// Log takes a line a step; nil is silence.
	Log io.Writer `json:"-"`
}

// overlays are folders of the host that a machine may write to, on its own disk.
var overlays = []string{"/etc", "/opt", "/var/lib", "/var/log"}

// withDefaults fills in what is left out and refuses what is wrong.
func (o Options) withDefaults() (Options, error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Nodes < 1 || o.Nodes > 9 {
		return o, fmt.Errorf("cluster: Nodes is %d: it must be 1 to 9", o.Nodes)
	}
	if o.Dir == "" {
		return o, fmt.Errorf("cluster: Dir is empty: name a folder for the cluster's state")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("cluster: Dir: %w", err)
	}
	o.Dir = dir
	if err := machine.CheckFolder(o.Dir, overlays); err != nil {
		return o, fmt.Errorf("cluster: Dir: %w", err)
	}
	for _, choice := range []struct {
		field  string
		value  *string
		values []string
	}{
		{"PodNetwork", &o.PodNetwork, []string{Routed, Bridge}},
		{"ProxyMode", &o.ProxyMode, []string{NFTables, IPTables}},
		{"Runtime", &o.Runtime, []string{Containerd2, Containerd1}},
	} {
		if *choice.value == "" {
			*choice.value = choice.values[0]
		}
		if !slices.Contains(choice.values, *choice.value) {
			return o, fmt.Errorf("cluster: %s is %q: it must be %s", choice.field, *choice.value, strings.Join(choice.values, " or "))
		}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o, nil
}

// Families are those of nodes, pods and Services, in words.
func (o Options) Families() string { return strings.Join(o.either("IPv4", "IPv6"), " and ") }

// same tells whether both ask for the same cluster.
func (o Options) same(p Options) bool {
	o.Log, p.Log = nil, nil
	// Where the programs are changes nothing about the cluster that runs them.
	o.Programs, p.Programs = "", ""
	return o == p
}
