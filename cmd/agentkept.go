//go:build linux

package cmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/controllers/startup"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/dataplane/nftables"
)

// bootIDFile is where the kernel has the ID of this boot.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// kept returns what the node enforces until the agent has read the cluster; nil
// where nothing is kept for it: no state folder, or a folder of manifests, which
// is there when the node is.
func (f *agentFlags) kept(log *slog.Logger) *agent.Boot {
	if f.stateDir == "" || f.from != "" {
		return nil
	}
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		log.Warn("nothing is kept for the next boot", "error", err)
		return nil
	}
	s := &kept.Store{Dir: f.stateDir, Node: f.node, Boot: strings.TrimSpace(string(boot))}
	if config, err := f.clusterConfig(); err == nil {
		s.Cluster = clusterOf(config)
	}
	return &agent.Boot{Store: s, Holds: kernelHolds}
}

// keeper returns what keeps the node's pods for the next agent; nil: nothing does.
func (f *agentFlags) keeper(config *rest.Config) startup.Keeper {
	boot, err := os.ReadFile(bootIDFile)
	if f.stateDir == "" || err != nil {
		return nil
	}
	return &startup.File{Dir: f.stateDir, Cluster: clusterOf(config), Node: f.node, Boot: strings.TrimSpace(string(boot))}
}

// clusterOf is what tells a cluster from others without asking it: the certificates
// that vouch for its API server or, without any, the server's address.
func clusterOf(c *rest.Config) string {
	ca := c.CAData
	if len(ca) == 0 && c.CAFile != "" {
		ca, _ = os.ReadFile(c.CAFile) // without it nothing could be read of the cluster
	}
	if ca = bytes.TrimSpace(ca); len(ca) == 0 {
		return "server " + c.Host
	}
	sum := sha256.Sum256(ca)
	return "ca " + hex.EncodeToString(sum[:16])
}

// kernelHolds reports whether the kernel has rules of one of the backends. A kernel
// that cannot be asked for a kind has none of it.
func kernelHolds() bool {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_ACK)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET})
	r.AddData(nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(nftables.TableName)))
	if _, err := r.Execute(unix.NETLINK_NETFILTER, 0); err == nil {
		return true
	}
	sets, _ := netlink.IpsetListAll()
	for i := range sets {
		if strings.HasPrefix(sets[i].SetName, "tw-") {
			return true
		}
	}
	return false
}

// forgetting is a backend whose Cleanup forgets what is kept for the next boot, too.
type forgetting struct {
	dataplane.Backend
	dir string // the state folder; empty: there is none
}

// Cleanup implements dataplane.Backend.
func (f forgetting) Cleanup(ctx context.Context) error {
	err := f.Backend.Cleanup(ctx)
	if f.dir == "" {
		return err
	}
	return errors.Join(err, (&kept.Store{Dir: f.dir}).Remove(), startup.Forget(f.dir))
}

// restore puts the kept state into the kernel once.
func (f *agentFlags) restore(ctx context.Context, log *slog.Logger, out io.Writer, backend dataplane.Backend) error {
	b := f.kept(log)
	if b == nil {
		return fmt.Errorf("--boot: no state folder, or no %s", bootIDFile)
	}
	if own, err := links.New(); err != nil {
		log.Warn("the node has the addresses of its Node object only", "error", err)
	} else {
		defer own.Close()
		b.Links = own
	}
	done, err := b.Restore(ctx, backend, dataplane.Options{}, log)
	if err != nil {
		return fmt.Errorf("--boot: %w", err)
	}
	if done {
		_, err = fmt.Fprintln(out, "kept state is in the kernel")
	}
	return err
}
