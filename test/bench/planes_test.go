package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/dataplane/nftables"
)

// plane is a data plane that is measured.
type plane struct {
	column Column
	// variant of iptables; Auto: it is nftables.
	variant iptables.Variant
	// tracking is a script for sh that has a node track connections, and accept
	// what belongs to known ones, and no more.
	tracking string
	// hooks is a script that makes the hooks that the guards have beside those of
	// policies, with nothing in them; bridgeHooks those that they have on a bridge only.
	hooks, bridgeHooks string
}

var (
	byNFTables = &plane{NFTables, iptables.Auto,
		"printf 'table inet tracking {\n chain forward { type filter hook forward priority -5; ct state established,related accept; }\n}\n' | nft -f -",
		"nft 'add table inet hooks; add chain inet hooks raw { type filter hook prerouting priority -300; }'",
		"nft 'add chain inet hooks link { type filter hook prerouting priority -149; }; add chain inet hooks out { type filter hook postrouting priority -5; }; " +
			"add table bridge hooks; add chain bridge hooks in { type filter hook prerouting priority -300; }; add chain bridge hooks out { type filter hook postrouting priority 200; }'"}
	byLegacy = &plane{Legacy, iptables.Legacy, "iptables-legacy -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"iptables-legacy -t raw -N hooks; iptables-legacy -t raw -A PREROUTING -j hooks", ""}
	byNFT = &plane{NFT, iptables.NFT, "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"iptables-nft -t raw -N hooks; iptables-nft -t raw -A PREROUTING -j hooks", ""}
	planes = []*plane{byNFTables, byLegacy, byNFT}
)

// need ends a benchmark where commands are not installed.
func need(b *testing.B) {
	b.Helper()
	for _, c := range []string{"nft", "iptables-legacy", "iptables-nft"} {
		if _, err := exec.LookPath(c); err != nil {
			b.Fatalf("the command %s is needed: %v", c, err)
		}
	}
}

// written is a backend and how often it has written to the kernel.
type written struct {
	dataplane.Backend
	writes func() uint64
}

// open makes a backend for the calling thread's network namespace.
func (p *plane) open() (*written, error) {
	if p == byNFTables {
		b, err := nftables.New(nftables.Options{})
		return &written{b, func() uint64 { s := b.Stats(); return s.Transactions + s.MemberTransactions }}, err
	}
	b, err := iptables.New(iptables.Options{Variant: p.variant})
	return &written{b, func() uint64 {
		s := b.Stats()
		return s.Restores + s.SetsCreated + s.SetsDestroyed + s.ElementsChanged
	}}, err
}

// errTooLong says that a node could not be programmed in time.
var errTooLong = errors.New("the rules are not in the kernel in time")

// sync programs the kernel of the calling thread's namespace from what an agent
// holds now. It says errTooLong if that takes longer than the limit.
func (p *plane) sync(ctx context.Context, a *agent) (*written, error) {
	w, err := p.open()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	err = w.Sync(ctx, a.state())
	switch {
	case ctx.Err() != nil || time.Since(start) > limit:
		return w, fmt.Errorf("%s: %w", p.column, errTooLong)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", p.column, err)
	}
	return w, nil
}

// some is the first of two amounts, or in a short run (-test.short) the second.
func some[T any](full, short T) T {
	if testing.Short() {
		return short
	}
	return full
}
