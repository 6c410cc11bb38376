package iptables

import (
	"context"
	"errors"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/test/worlds"
)

// TestPackets sends real packets through the nodes of the random worlds that the
// nftables backend is held to.
func TestPackets(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) {
			worlds.Packets{
				Program: func(ctx context.Context, s *dataplane.State) error {
					b, err := New(Options{Variant: v})
					if err != nil {
						return err
					}
					return errors.Join(b.Sync(ctx, s), b.same(s))
				},
				Render: func(s *dataplane.State) string { return Render(s, Options{}) },
			}.Run(t)
		})
	}
}
