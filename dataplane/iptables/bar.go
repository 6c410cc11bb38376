package iptables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// The bar is a set of flows that go by time: source, its protocol and port, and
// destination, whatever the port there.
const (
	barKey     = "bar"
	barFields  = "src,src,dst"
	barSeconds = int(dataplane.BarTime / 1e9)
)

// bar returns the kernel's name of the bar.
func (g *sink) bar() string {
	g.note(g.key(barKey), closes, false)
	return g.set(barKey, typeFlows, nil)
}

var _ dataplane.Barrer = (*Backend)(nil)

// Bar implements dataplane.Barrer.
func (b *Backend) Bar(_ context.Context, flows []model.Flow) error { return b.changeBar(flows, true) }

// Unbar implements dataplane.Barrer.
func (b *Backend) Unbar(_ context.Context, flows []model.Flow) error {
	return b.changeBar(flows, false)
}

func (b *Backend) changeBar(flows []model.Flow, add bool) error {
	if b.have == nil {
		return nil // the next Sync is not done yet: there may be no set
	}
	var errs []error
	for f, of := range dataplane.ByFamily(flows) {
		var elems []elem
		for _, fl := range of {
			elems = append(elems, elem{net: netip.PrefixFrom(fl.Src, fl.Src.BitLen()), protocol: fl.Protocol, port: fl.SrcPort, to: fl.Dst})
		}
		if s := b.have.sets[fmt.Sprintf("%d%s", f, barKey)]; s != nil && len(elems) > 0 {
			errs = append(errs, b.kernel.changeSet(s, elems, add))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("iptables: cannot change the bar of cut connections: %w", err)
	}
	return nil
}
