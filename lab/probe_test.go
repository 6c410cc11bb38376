//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/model"
)

// probeAll sends many probes at a time and returns what is wrong with them.
func probeAll(l *Lab, flows []model.Flow, check func(model.Flow, Result) error) []string {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrong []string
	)
	next := make(chan model.Flow)
	for range 8 {
		wg.Go(func() {
			for f := range next {
				r, err := l.Probe(context.Background(), f, Options{})
				if err == nil {
					err = check(f, r)
				}
				if err != nil {
					mu.Lock()
					wrong = append(wrong, fmt.Sprintf("%s: %v: %+v", describe(f), err, r))
					mu.Unlock()
				}
			}
		})
	}
	for _, f := range flows {
		next <- f
	}
	close(next)
	wg.Wait()
	return wrong
}

var errLost = errors.New("not delivered")

func delivered(_ model.Flow, r Result) error {
	if !r.Delivered || !r.Answered || r.Rejected {
		return fmt.Errorf("not delivered and answered")
	}
	return nil
}

var _ = Describe("without policy", func() {
	for name, network := range map[string]Network{"routed": Routed, "bridged": Bridge} {
		It("every address reaches every address by every protocol, "+name, func() {
			l := bring(world(network))
			var all []netip.Addr
			for a := range l.owners {
				all = append(all, a)
			}
			Expect(len(all)).To(BeNumerically(">=", 16))
			slices.SortFunc(all, netip.Addr.Compare)
			var flows []model.Flow
			for _, src := range all {
				for _, dst := range all {
					if src.Is4() == dst.Is4() {
						flows = append(flows, allProtocols(src, dst)...)
					}
				}
			}
			Expect(probeAll(l, flows, delivered)).To(BeEmpty())
		})
	}
})

var _ = Describe("Probe", func() {
	It("says who received the packet and what it saw", func() {
		l := bring(world(Routed))
		r := try(l, model.Flow{Src: addr("10.1.1.10"), Dst: addr("10.1.2.10"), Protocol: model.TCP, SrcPort: 1234, DstPort: 80})
		Expect(r.At).To(Equal("b/web"))
		Expect(r.From).To(Equal(addrPort("10.1.1.10:1234")))
		Expect(r.To).To(Equal(addrPort("10.1.2.10:80")))
		Expect(r.Answer).To(Equal("SYN-ACK"))
		Expect(r.Latency).To(BeNumerically(">", 0))
	})

	It("sends any ICMP type and code", func() {
		l := bring(world(Routed))
		for _, c := range [][2]uint8{{0, 0}, {3, 1}, {3, 13}, {5, 1}, {8, 7}, {11, 0}, {12, 0}, {13, 0}, {40, 3}, {255, 255}} {
			f := model.Flow{Src: addr("10.1.1.10"), Dst: addr("10.1.2.10"), Protocol: model.ICMPv4, ICMPType: c[0], ICMPCode: c[1]}
			Expect(try(l, f)).To(HaveField("Delivered", true), describe(f))
		}
		for _, c := range [][2]uint8{{1, 1}, {2, 0}, {3, 0}, {4, 2}, {127, 0}, {128, 0}, {128, 9}, {129, 0}, {130, 0}, {160, 7}, {255, 1}} {
			f := model.Flow{Src: addr("fd00:1:1::10"), Dst: addr("fd00:1:2::10"), Protocol: model.ICMPv6, ICMPType: c[0], ICMPCode: c[1]}
			Expect(try(l, f)).To(HaveField("Delivered", true), describe(f))
		}
	})

	It("takes on addresses that nobody has", func() {
		l := bring(world(Bridge))
		Expect(try(l, flow(model.TCP, "198.51.100.7", "10.1.1.10", 80))).To(beDelivered)
		Expect(try(l, flow(model.UDP, "fd00:1:1::10", "2001:db8:abcd::1", 53))).To(beDelivered)
		for _, a := range []string{"198.51.100.7", "2001:db8:abcd::1"} {
			where, ok := l.Owner(addr(a))
			Expect(ok).To(BeTrue())
			Expect(where).To(Equal(Internet))
		}
		r := try(l, flow(model.TCP, "10.1.2.10", "10.1.1.77", 80))
		Expect(r).To(beDelivered)
		Expect(r.At).To(Equal("(unknown)/10.1.1.77"))
		Expect(l.nodeOf(l.pods[r.At].place).name).To(Equal("n1"))
	})

	It("forges a source address", func() {
		l := bring(world(Routed))
		r := tryWith(l, flow(model.UDP, "10.1.1.11", "10.1.2.10", 53), Options{From: "a/web"})
		Expect(r.Delivered).To(BeTrue())
		Expect(r.Answered).To(BeFalse(), "the answer goes to the true owner")
	})

	It("refuses what cannot be sent", func() {
		l := bring(Spec{})
		for _, f := range []model.Flow{
			{},
			{Src: addr("192.0.2.1"), Dst: addr("2001:db8::1"), Protocol: model.TCP, DstPort: 1},
			{Src: addr("192.0.2.1"), Dst: addr("192.0.2.2"), Protocol: model.TCP},
			{Src: addr("192.0.2.1"), Dst: addr("192.0.2.2")},
			{Src: addr("192.0.2.1"), Dst: addr("192.0.2.2"), Protocol: model.ICMPv6},
			{Src: addr("2001:db8::1"), Dst: addr("2001:db8::2"), Protocol: 44},
			{Src: addr("224.0.0.1"), Dst: addr("192.0.2.2"), Protocol: 253},
			{Src: addr("127.0.0.1"), Dst: addr("192.0.2.2"), Protocol: 253},
		} {
			_, err := l.Probe(context.Background(), f, Options{})
			Expect(err).To(HaveOccurred(), describe(f))
		}
		_, err := l.Probe(context.Background(), flow(model.UDP, "192.0.2.1", "192.0.2.2", 1), Options{From: "nobody"})
		Expect(err).To(MatchError(ContainSubstring(`there is no node, pod or host "nobody"`)))
	})

	It("uses the interface that has the address", func() {
		l := bring(world(Routed))
		nft(l, "n2", `table inet t {
			chain in { type filter hook input priority 0; iifname "eth1" udp dport 1 drop; iifname "eth0" udp dport 2 drop; }
			chain out { type filter hook output priority 0; oifname "eth1" udp dport 3 drop; oifname "eth0" udp dport 4 drop; }
		}`)
		for _, second := range []string{"198.18.0.2", "2001:db8:1::2"} {
			other := "203.0.113.9"
			if addr(second).Is6() {
				other = "2001:db8:ffff::9"
			}
			Expect(try(l, flow(model.UDP, other, second, 1))).To(beDropped)
			Expect(try(l, flow(model.UDP, other, second, 2))).To(beDelivered)
			Expect(try(l, flow(model.UDP, second, other, 3))).To(beDropped)
			Expect(try(l, flow(model.UDP, second, other, 4))).To(beDelivered)
		}
	})
})

var _ = Describe("with rules", func() {
	It("tells dropped from rejected from delivered, at each hook", func() {
		l := bring(world(Routed))
		nft(l, "n1", `table inet t {
			chain forward { type filter hook forward priority 0; th dport 81 drop; tcp dport 82 reject with tcp reset; th dport 83 reject with icmpx admin-prohibited; meta l4proto { icmp, icmpv6 } ip ttl 63 drop; }
			chain in { type filter hook input priority 0; th dport 91 drop; tcp dport 92 reject with tcp reset; th dport 93 reject; }
			chain out { type filter hook output priority 0; th dport 95 drop; tcp flags & (syn|ack) == syn|ack th sport 97 drop; }
			chain pre { type filter hook prerouting priority raw; th sport 85 drop; }
		}`)
		pairs := map[string]string{"10.1.2.10": "10.1.1.10", "fd00:1:2::10": "fd00:1:1::10"}
		nodes := map[string]string{"10.1.2.10": "192.0.2.1", "fd00:1:2::10": "2001:db8::1"}
		for src, dst := range pairs {
			for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
				Expect(try(l, flow(p, src, dst, 80))).To(beDelivered)
				Expect(try(l, flow(p, src, dst, 81))).To(beDropped)
				Expect(try(l, flow(p, src, nodes[src], 91))).To(beDropped)
				Expect(try(l, flow(p, nodes[src], src, 95))).To(beDropped)
				Expect(try(l, flow(p, nodes[src], src, 91))).To(beDelivered)
				Expect(try(l, flow(p, src, dst, 83))).To(And(HaveField("Delivered", false), HaveField("Rejected", true), HaveField("Answer", ContainSubstring("ICMP"))), describe(flow(p, src, dst, 83)))
				Expect(try(l, flow(p, src, nodes[src], 93))).To(And(HaveField("Delivered", false), HaveField("Rejected", true)))
				// Only the answer is dropped.
				Expect(try(l, flow(p, src, dst, 85))).To(And(HaveField("Delivered", true), HaveField("Answered", false), HaveField("Rejected", false)))
			}
			Expect(try(l, flow(model.TCP, src, dst, 82))).To(And(HaveField("Delivered", false), HaveField("Rejected", true), HaveField("Answer", "RST")))
			Expect(try(l, flow(model.TCP, src, nodes[src], 92))).To(And(HaveField("Rejected", true), HaveField("Answer", "RST")))
			Expect(try(l, flow(model.TCP, src, nodes[src], 97))).To(And(HaveField("Delivered", true), HaveField("Answered", false)))
		}
	})

	It("filters what passes a bridge", func() {
		l := bring(world(Bridge))
		nft(l, "n1", `table inet t {
			chain forward { type filter hook forward priority 0; udp dport 81 drop; }
		}`)
		for src, dst := range map[string]string{"10.1.1.10": "10.1.1.11", "fd00:1:1::10": "fd00:1:1::11"} {
			Expect(try(l, flow(model.UDP, src, dst, 80))).To(beDelivered)
			Expect(try(l, flow(model.UDP, src, dst, 81))).To(beDropped)
		}
	})

	It("makes each probe the first packet of a connection", func() {
		l := bring(world(Routed))
		nft(l, "n1", `table inet t {
			chain forward { type filter hook forward priority 0; ct state established accept; }
		}`)
		var flows []model.Flow
		for src, dst := range map[string]string{"10.1.2.10": "10.1.1.10", "fd00:1:2::10": "fd00:1:1::10"} {
			for _, f := range allProtocols(addr(src), addr(dst)) {
				if f.Protocol.HasPorts() {
					f.SrcPort = 7777
				}
				flows = append(flows, f)
				Expect(try(l, f)).To(beDelivered)
			}
		}
		nft(l, "n1", `add rule inet t forward drop`)
		for _, f := range flows {
			if f.Protocol == model.UDP {
				Expect(tryWith(l, f, Options{KeepConnection: true}).Delivered).To(BeTrue(), "a packet of the established connection passes")
			}
			Expect(try(l, f)).To(beDropped, describe(f))
		}
	})

	// The one that matters: nothing but the rules decides, however many probes run.
	It("is right about each of thousands of probes at a time", func() {
		for _, network := range []Network{Routed, Bridge} {
			l := bring(world(network))
			for _, n := range []string{"n1", "n2"} {
				// Odd ports are dropped at the first node that sees them.
				nft(l, n, `table inet t {
					chain forward { type filter hook forward priority 0; th dport & 1 == 1 drop; }
					chain in { type filter hook input priority 0; th dport & 1 == 1 drop; }
					chain out { type filter hook output priority 0; th dport & 1 == 1 drop; }
				}`)
			}
			var sources, flows = []string{"10.1.1.10", "10.1.1.11", "10.1.2.10", "172.20.7.7", "192.0.2.1", "203.0.113.9"}, []model.Flow(nil)
			for i := range 100 {
				for s, src := range sources {
					for d, dst := range sources {
						p := []model.Protocol{model.TCP, model.UDP, model.SCTP}[(i+s+d)%3]
						// Answers have an even destination port, so that they pass.
						f := flow(p, src, dst, uint16(20000+i))
						f.SrcPort = uint16(30000 + 2*i)
						if s != d {
							flows = append(flows, f)
						}
					}
				}
			}
			Expect(probeAll(l, flows, func(f model.Flow, r Result) error {
				if allowed := f.DstPort%2 == 0; r.Delivered != allowed || r.Answered != allowed || r.Rejected {
					return fmt.Errorf("want delivered %t", allowed)
				}
				return nil
			})).To(BeEmpty())
		}
	})
})
