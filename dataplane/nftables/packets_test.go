package nftables

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/test/worlds"
)

// TestPackets sends real packets through the nodes of random worlds.
func TestPackets(t *testing.T) {
	var classed atomic.Int64
	worlds.Packets{
		Program: func(ctx context.Context, s *dataplane.State) error {
			b, err := New(Options{})
			if err != nil {
				return err
			}
			classed.Add(int64(strings.Count(Render(s, Options{}), "\tmap "+mapClasses)))
			return errors.Join(b.Sync(ctx, s), b.same(s))
		},
		Render: func(s *dataplane.State) string { return Render(s, Options{}) },
	}.Run(t)
	t.Logf("%d classed tables", classed.Load())
	if classed.Load() < 20 && !worlds.One() {
		t.Error("the worlds have gone blind: hardly any table is classed")
	}
}
