package dataplane

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/dataplane/watch"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/lab/fleet"
)

// plane is a data plane that the specs run on: a backend, and what somebody else
// can see of it and do to it.
type plane struct {
	name string
	// variant of iptables; Auto: it is nftables.
	variant iptables.Variant
}

var (
	byNFTables = &plane{"nftables", iptables.Auto}
	byLegacy   = &plane{"iptables-legacy", iptables.Legacy}
	byNFT      = &plane{"iptables-nft", iptables.NFT}
	planes     = []*plane{byNFTables, byLegacy, byNFT}
)

// onEach describes what holds on each of the data planes.
func onEach(text string, body func(p *plane)) bool {
	for _, p := range planes {
		Describe(text+" ("+p.name+")", Label(p.name), func() { body(p) })
	}
	return true
}

// hintChain is what makes a variant of iptables the one that agents on a node find
// in use; the kubelet makes it.
const hintChain = "KUBE-KUBELET-CANARY"

// hint makes a variant of iptables the one in use on a node.
func hint(l *lab.Lab, node string, p *plane) {
	GinkgoHelper()
	p.must(l, node, "IPTABLES -t mangle -N "+hintChain)
}

// unhint takes a hint away.
func unhint(l *lab.Lab, node string, p *plane) {
	GinkgoHelper()
	p.must(l, node, "IPTABLES -t mangle -X "+hintChain)
}

// command is a command of the plane's variant of iptables, as in "ip6tables" and "-save".
func (p *plane) command(base, what string) string { return base + "-" + p.variant.String() + what }

// sh runs a script on a node. IPTABLES and IP6TABLES in it stand for the commands
// of the plane's variant.
func (p *plane) sh(l *lab.Lab, node, script string) (string, error) {
	script = strings.NewReplacer("IP6TABLES", p.command("ip6tables", ""), "IPTABLES", p.command("iptables", "")).Replace(script)
	out, err := l.Command(node, "sh", "-ec", script).Output()
	return string(out), err
}

// must runs a script that has to succeed.
func (p *plane) must(l *lab.Lab, node, script string) string {
	GinkgoHelper()
	out, err := p.sh(l, node, script)
	Expect(err).NotTo(HaveOccurred(), script)
	return out
}

// backend makes a backend, on a thread in a node's namespace.
func (p *plane) backend() (fleet.Kernel, error) {
	if p == byNFTables {
		return nftables.New(nftables.Options{})
	}
	return iptables.New(iptables.Options{Variant: p.variant})
}

// watched makes a backend and what notices foreign changes, as a node's agent has them.
func (p *plane) watched() (fleet.Kernel, agent.Watcher, error) {
	b, err := p.backend()
	if err != nil {
		return nil, nil, err
	}
	if i, ok := b.(*iptables.Backend); ok {
		w, err := i.NewWatcher(clock.RealClock{})
		return b, w, err
	}
	w, err := watch.New(nftables.TableName)
	return b, w, err
}

// launch starts an agent as a program of its own on a node, with this data plane.
func (p *plane) launch(l *lab.Lab, node, dir string, more ...string) *process {
	GinkgoHelper()
	return launch(l, node, dir, p.flags(l, node, more...)...)
}

// flags are the agent's, for this data plane on a node.
func (p *plane) flags(l *lab.Lab, node string, more ...string) []string {
	GinkgoHelper()
	if p == byNFTables {
		return more
	}
	if _, err := p.sh(l, node, "IPTABLES -t mangle -n -L "+hintChain); err != nil {
		hint(l, node, p)
	}
	return append([]string{"--dataplane", "iptables"}, more...)
}

// erase takes all rules and sets of ours away, as somebody else might.
func (p *plane) erase(l *lab.Lab, node string) {
	GinkgoHelper()
	if p == byNFTables {
		_, err := nft(l, node, "delete table inet tierwall")
		Expect(err).NotTo(HaveOccurred())
		return
	}
	p.must(l, node, "IPTABLES -F; IPTABLES -X; IP6TABLES -F; IP6TABLES -X")
}

// ours is what of Tierwall's is in a node's kernel, by data plane and variant.
func ours(l *lab.Lab, node string) []string {
	var out []string
	if tables, err := nft(l, node, "list", "tables"); err != nil || strings.Contains(tables, "inet tierwall") {
		out = append(out, "nftables")
	}
	for _, c := range []string{"iptables-legacy-save", "iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save"} {
		if rules, err := l.Command(node, c).Output(); err != nil || strings.Contains(string(rules), "TW-") {
			out = append(out, strings.TrimSuffix(c, "-save"))
		}
	}
	return out
}

// holds is what `ours` says of a node that has this data plane alone.
func (p *plane) holds() []string {
	if p == byNFTables {
		return []string{p.name}
	}
	return []string{p.command("iptables", ""), p.command("ip6tables", "")}
}
