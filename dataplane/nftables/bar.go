package nftables

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// setBar is the set of barred flows, less the family's digit. Its elements go by
// time and are no part of the ruleset: a Sync leaves them alone.
const setBar = "bar"

// timeText is how long elements stay as nft writes it: 10m, 1s.
func timeText(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

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
	return servicePortKey(f.Src, f.Protocol, f.SrcPort) + addrKey(f.Dst) + string([]byte{byte(f.DstPort >> 8), byte(f.DstPort), 0, 0})
}

var _ dataplane.Barrer = (*Backend)(nil)

// Bar implements dataplane.Barrer.
func (b *Backend) Bar(_ context.Context, flows []model.Flow) error { return b.changeBar(flows, true) }

// Unbar implements dataplane.Barrer.
func (b *Backend) Unbar(_ context.Context, flows []model.Flow) error {
	return b.changeBar(flows, false)
}

// changeBar adds flows to the bar, or removes them. That one is there already is no
// error of adding, so each is added first; then removing is none either, and one
// that is added again has its time anew.
func (b *Backend) changeBar(flows []model.Flow, add bool) error {
	if b.world == nil {
		return nil // the next Sync is not done yet: there may be no table
	}
	var list []elem
	for f, of := range dataplane.ByFamily(flows) {
		s := b.world.sets[setBar+digit(f)]
		for i := range of {
			list = append(list, elem{set: s, key: flowKey(&of[i])})
		}
	}
	if err := b.kernel.bar(list, add); err != nil {
		return fmt.Errorf("nftables: cannot change the bar of cut connections: %w", err)
	}
	return nil
}

func (k *netlinkKernel) bar(list []elem, add bool) error {
	w := writer{b: newBatch(k.family), flush: k.socket.commit}
	w.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to set", list)
	w.elems(unix.NFT_MSG_DELSETELEM, 0, "delete elements of set", list)
	if add {
		w.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to set", list)
	}
	w.end()
	return k.renew(w.err)
}
