package agent

import (
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/policy/model"
)

// BenchmarkLoggedPacket is what a packet of a Log rule costs the agent, with a line and without.
func BenchmarkLoggedPacket(b *testing.B) {
	for _, c := range []struct {
		name string
		rate int
	}{{"line", 1 << 30}, {"suppressed", 1}} {
		b.Run(c.name, func(b *testing.B) {
			l := newPacketLog(&Options{Node: "node", Logs: nflog.NewFake(), Lines: io.Discard, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler)}, func(netip.Addr) string { return "Pod/shop/web" })
			l.configure(&model.Settings{Logging: model.Logging{RatePerRule: c.rate}})
			p := logged("rule-1", 80)
			l.known[p.Prefix] = ruleNamed("security", "GlobalNetworkPolicy/watch", "ingress", "1")
			b.ReportAllocs()
			for b.Loop() {
				l.take(p)
			}
		})
	}
}
