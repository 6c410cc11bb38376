package iptables

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/tierwall/tierwall/dataplane"
)

// Variant is which of the two kernel interfaces the commands speak to. Rules of
// the one are not seen through the other, though packets meet both.
type Variant uint8

// The variants.
const (
	// Auto is the one that other software on the node uses.
	Auto Variant = iota
	// Legacy is the kernel's own iptables.
	Legacy
	// NFT is iptables' commands on the kernel's nftables.
	NFT
)

// String is the suffix of the variant's commands.
func (v Variant) String() string {
	switch v {
	case Legacy:
		return "legacy"
	case NFT:
		return "nft"
	}
	return "auto"
}

// commands are the names of a variant's commands: what they end in, and "" where
// only plain names are there.
type commands struct {
	variant Variant
	suffix  string
}

// name of a command: suffix is "", "-save" or "-restore".
func (c commands) name(f dataplane.Family, what string) string {
	base := "iptables"
	if f == dataplane.IPv6 {
		base = "ip6tables"
	}
	return base + c.suffix + what
}

// available says whether all of the commands are there.
func (c commands) available() bool {
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		for _, what := range []string{"", "-save", "-restore"} {
			if _, err := exec.LookPath(c.name(f, what)); err != nil {
				return false
			}
		}
	}
	return true
}

// installed returns the commands of a variant: by their own names, or by the
// plain ones if these speak to it.
func installed(v Variant) (commands, bool) {
	if c := (commands{v, "-" + v.String()}); c.available() {
		return c, true
	}
	c := commands{v, ""}
	return c, c.available() && plain() == v
}

// plain is the variant that the command iptables speaks to.
func plain() Variant {
	out, err := exec.Command("iptables", "--version").Output()
	switch {
	case err != nil:
		return Auto
	case strings.Contains(string(out), "nf_tables"):
		return NFT
	}
	return Legacy
}

// detect returns the commands for a variant that is asked for. Of two variants
// the kubelet's is taken, which leaves a chain as a hint, then that of kube-proxy,
// then that of the command iptables.
func detect(v Variant) (commands, error) {
	if v != Auto {
		c, ok := installed(v)
		if !ok {
			return c, fmt.Errorf("iptables: the commands of variant %s are not installed", v)
		}
		return c, nil
	}
	var found []commands
	for _, v := range []Variant{NFT, Legacy} {
		if c, ok := installed(v); ok && (v != NFT || hasNFTables()) {
			if hinted(c) {
				return c, nil
			}
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return commands{}, fmt.Errorf("iptables: no commands are installed: want iptables, ip6tables and their -save and -restore")
	}
	for _, c := range found {
		if c.variant == plain() {
			return c, nil
		}
	}
	return found[0], nil
}

// hinted says whether Kubernetes uses a variant.
func hinted(c commands) bool {
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		if c.variant == Legacy && !legacyInUse(f) || f == dataplane.IPv6 && !hasIPv6() {
			continue // to ask would make the tables
		}
		protocol := goiptables.ProtocolIPv4
		if f == dataplane.IPv6 {
			protocol = goiptables.ProtocolIPv6
		}
		ipt, err := goiptables.New(goiptables.IPFamily(protocol), goiptables.Path(c.name(f, "")), goiptables.Timeout(lockSeconds))
		if err != nil {
			continue
		}
		for _, chain := range hints {
			if ok, err := ipt.ChainExists(tableMangle, chain); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// hints are chains that the kubelet and kube-proxy leave in table mangle of the
// variant that they use.
var hints = []string{"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY", "KUBE-PROXY-CANARY"}

// mayHold says whether a variant can have rules of a family: asking one that has
// none would make its tables, or fail.
func mayHold(v Variant, f dataplane.Family) bool {
	if v == Legacy {
		return legacyInUse(f)
	}
	return hasNFTables()
}

// legacyInUse says whether the kernel has legacy tables in the thread's network namespace.
func legacyInUse(f dataplane.Family) bool {
	name := "ip_tables_names"
	if f == dataplane.IPv6 {
		name = "ip6_tables_names"
	}
	b, err := os.ReadFile("/proc/thread-self/net/" + name)
	return err == nil && len(b) > 0
}

// hasIPv6 says whether the kernel speaks IPv6 at all.
func hasIPv6() bool {
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
	return err == nil
}
