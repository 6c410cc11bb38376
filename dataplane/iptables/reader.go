package iptables

import (
	"context"
	"errors"

	"github.com/tierwall/tierwall/dataplane"
)

var _ dataplane.CounterReader = (*Backend)(nil)

// settle notes what the kernel holds.
func (b *Backend) settle(rs *ruleset) {
	b.have = rs
	b.origins.Store(&rs.origins) // a ruleset does not change any more
}

// ReadCounters implements dataplane.CounterReader.
func (b *Backend) ReadCounters(ctx context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	origins := b.origins.Load()
	if origins == nil {
		return nil, errors.New("iptables: nothing has been programmed")
	}
	b.reading.Lock()
	defer b.reading.Unlock()
	var out map[dataplane.Origin]dataplane.Count
	err := b.home.do(func() (err error) {
		out, err = b.count(ctx, *origins)
		return err
	})
	return out, err
}
