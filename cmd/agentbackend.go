//go:build linux

package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/dataplane/watch"
)

// iptablesAudit is how often the kernel is compared with what it should hold
// where it does not tell of all foreign changes.
const iptablesAudit = 30 * time.Second

// agentKernel is what both backends can do. What only one of them can is passed on by
// forAgent: a method that is missing here is missing in the agent, which asks its backend
// for it.
type agentKernel interface {
	dataplane.Backend
	dataplane.Barrer
	dataplane.Holder
	dataplane.CounterReader
	agent.Namer
}

// chosenBackend is the backend that an agent programs its kernel with. When its
// rules hold, it removes what the other backend has left there: so a node that
// moves from one to the other has both for a moment, and never none.
type chosenBackend struct {
	agentKernel
	dataplane v1alpha1.Dataplane
	// watcher makes one of foreign changes, for the calling thread's network namespace.
	watcher func() (agent.Watcher, error)
	// audit is how often the kernel is compared; zero: the agent's default.
	audit time.Duration
	// removeOther removes what is of the other backend, if anything is.
	removeOther func(context.Context) error
	alone       bool // nothing is
	log         *slog.Logger
}

// forAgent returns the backend with all that the kernel's own can do.
func (c *chosenBackend) forAgent() dataplane.Backend {
	if p, ok := c.agentKernel.(dataplane.Preparer); ok {
		return preparingBackend{c, p}
	}
	return c
}

// preparingBackend is a chosenBackend that can do work ahead of a change.
type preparingBackend struct {
	*chosenBackend
	preparer dataplane.Preparer
}

// Prepare implements dataplane.Preparer.
func (p preparingBackend) Prepare(ctx context.Context, ends []dataplane.Endpoint, s *dataplane.State) (bool, error) {
	return p.preparer.Prepare(ctx, ends, s)
}

// planes are the data planes of a host.
type planes struct {
	// usable says why the kernel's nftables cannot be used; nil if it can.
	usable             func() error
	nftables, iptables func(*slog.Logger) (*chosenBackend, error)
}

// hostPlanes are those of this host.
var hostPlanes = planes{usable: nftablesUsable, nftables: nftablesPlane, iptables: iptablesPlane}

// choose returns the backend that --dataplane asks for: auto, nftables or
// iptables. Auto is nftables wherever the kernel has it, even if it cannot be
// programmed: what else the host runs uses it then, too.
func (p planes) choose(name string, log *slog.Logger) (*chosenBackend, error) {
	switch name {
	case "auto":
		err := p.usable()
		if err == nil {
			return p.nftables(log)
		}
		b, ierr := p.iptables(log)
		if ierr != nil {
			return nil, fmt.Errorf("--dataplane auto: no nftables (%w) and no iptables (%w)", err, ierr)
		}
		return b, nil
	case "nftables":
		return p.nftables(log)
	case "iptables":
		return p.iptables(log)
	}
	return nil, fmt.Errorf("--dataplane %s: want auto, nftables or iptables", name)
}

func nftablesPlane(log *slog.Logger) (*chosenBackend, error) {
	b, err := nftables.New(nftables.Options{})
	if err != nil {
		return nil, err
	}
	return &chosenBackend{
		agentKernel: b, dataplane: v1alpha1.DataplaneNFTables, removeOther: iptables.Cleanup, log: log,
		watcher: func() (agent.Watcher, error) { return watch.New(nftables.TableName) },
	}, nil
}

func iptablesPlane(log *slog.Logger) (*chosenBackend, error) {
	b, err := iptables.New(iptables.Options{})
	if err != nil {
		return nil, err
	}
	log.Info("programming iptables", "variant", b.Variant().String())
	return &chosenBackend{
		agentKernel: b, dataplane: v1alpha1.DataplaneIPTables, removeOther: cleanupNFTables, log: log,
		watcher: func() (agent.Watcher, error) { return b.NewWatcher(clock.RealClock{}) }, audit: iptablesAudit,
	}, nil
}

// nftablesUsable says why the kernel's nftables cannot be used; nil if it can. It
// asks for the list of tables.
func nftablesUsable() error {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: unix.NFNETLINK_V0})
	if _, err := r.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("list the kernel's tables: %w", err)
	}
	return nil // without privileges nothing is known, and iptables would not do better
}

func cleanupNFTables(ctx context.Context) error {
	if nftablesUsable() != nil {
		return nil // it holds nothing
	}
	b, err := nftables.New(nftables.Options{})
	if err != nil {
		return err
	}
	return errors.Join(b.Cleanup(ctx), b.Close())
}

// Sync implements dataplane.Backend. What of the other backend cannot be removed
// can only drop more: it is reported, and tried again by the next Sync.
func (c *chosenBackend) Sync(ctx context.Context, s *dataplane.State) error {
	if err := c.agentKernel.Sync(ctx, s); err != nil || c.alone {
		return err
	}
	if err := c.removeOther(ctx); err != nil {
		c.log.Warn("rules of another data plane are left in the kernel", "error", err)
		return nil
	}
	c.alone = true
	return nil
}

// Cleanup implements dataplane.Backend: of both backends.
func (c *chosenBackend) Cleanup(ctx context.Context) error {
	return errors.Join(c.agentKernel.Cleanup(ctx), c.removeOther(ctx))
}
