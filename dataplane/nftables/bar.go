package nftables

import (
	"context"
	"fmt"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/policy/model"
)

// setBar is the set of barred flows, less the family's digit. Its elements go by
// time and are no part of the ruleset: a Sync leaves them alone.
const setBar = "bar"

// barTime is dataplane.BarTime as nft writes it.
var barTime = nft.DurationText(dataplane.BarTime)

// flowType is the type of the set's keys: source, protocol and port, destination and port.
func flowType(f dataplane.Family) string {
	a := addrType(f)
	return a + " . inet_proto . inet_service . " + a + " . inet_service"
}

// flowOf is the packet's flow in nft's language.
func flowOf(ip string) string {
	return ip + " saddr . meta l4proto . th sport . " + ip + " daddr . th dport"
}

func flowKey(f *model.Flow) string {
	return nft.ServicePortKey(f.Src, uint8(f.Protocol), f.SrcPort) + nft.AddrKey(f.Dst) + string([]byte{byte(f.DstPort >> 8), byte(f.DstPort), 0, 0})
}

var _ dataplane.Barrer = (*Backend)(nil)

// Bar implements dataplane.Barrer.
func (b *Backend) Bar(_ context.Context, flows []model.Flow) error {
	return b.changeBar(flows, b.kernel.PutTimed)
}

// Unbar implements dataplane.Barrer.
func (b *Backend) Unbar(_ context.Context, flows []model.Flow) error {
	return b.changeBar(flows, b.kernel.DropTimed)
}

func (b *Backend) changeBar(flows []model.Flow, change func([]nft.Elem) error) error {
	if b.world == nil {
		return nil // the next Sync is not done yet: there may be no table
	}
	var list []nft.Elem
	for f, of := range dataplane.ByFamily(flows) {
		s := b.world.Sets[setBar+digit(f)]
		for i := range of {
			list = append(list, nft.Elem{Set: s, Key: flowKey(&of[i])})
		}
	}
	if err := change(list); err != nil {
		return fmt.Errorf("nftables: cannot change the bar of cut connections: %w", err)
	}
	return nil
}
