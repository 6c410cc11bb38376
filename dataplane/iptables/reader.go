package iptables

import (
	"context"
	"errors"

	"github.com/tierwall/tierwall/dataplane"
)

var _ dataplane.CounterReader = (*Backend)(nil)

// settle notes what the kernel of the calling thread's namespace holds. A ruleset does
// not change any more.
func (b *Backend) settle(rs *ruleset) {
	b.have = rs
	b.published.Store(&rs.origins)
	if b.home.Load() == nil {
		if n, err := currentNetns(); err == nil { // or else with the next change
			b.home.Store(&n)
		}
	}
}

// ReadCounters implements dataplane.CounterReader.
func (b *Backend) ReadCounters(ctx context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	origins, home := b.published.Load(), b.home.Load()
	if origins == nil || home == nil {
		return nil, errors.New("iptables: nothing has been programmed")
	}
	var out map[dataplane.Origin]dataplane.Count
	err := home.do(func() (err error) {
		out, err = b.count(ctx, *origins)
		return err
	})
	return out, err
}
