//go:build linux

package lab

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

var _ = Describe("Stream", func() {
	var ctx context.Context
	BeforeEach(func() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
		DeferCleanup(cancel)
	})
	open := func(l *Lab, o StreamOptions) *Stream {
		GinkgoHelper()
		s, err := l.OpenStream(ctx, o)
		Expect(err).NotTo(HaveOccurred())
		return s
	}
	records := func(s *Stream, n uint64) StreamStats {
		GinkgoHelper()
		stats, err := s.WaitRecords(ctx, n)
		Expect(err).NotTo(HaveOccurred())
		return stats
	}
	both := []model.Protocol{model.TCP, model.UDP}

	It("loses nothing without policy", func() {
		for _, network := range []Network{Routed, Bridge} {
			l := bring(world(network))
			var streams []*Stream
			for _, p := range both {
				for src, dst := range map[string]string{"10.1.1.10:0": "10.1.2.10:80", "[fd00:1:1::10]:0": "[2001:db8:ffff::9]:80", "192.0.2.1:0": "10.1.1.11:81", "203.0.113.1:4000": "192.0.2.2:82"} {
					streams = append(streams, open(l, StreamOptions{Protocol: p, Src: addrPort(src), Dst: addrPort(dst), Rate: 500}))
				}
			}
			for _, s := range streams {
				records(s, 100)
				stats := s.Close()
				Expect(stats.Sent).To(BeNumerically(">=", 100))
				Expect(stats).To(Equal(StreamStats{Sent: stats.Sent, Arrived: stats.Sent, Received: stats.Sent}))
				Expect(stats.Cut()).To(BeFalse())
			}
		}
	})

	It("sees that an established connection is cut and goes on, to the record", func() {
		l := bring(world(Routed))
		nft(l, "n1", "table inet t {\n chain forward { type filter hook forward priority 0; }\n }")
		for _, p := range both {
			for _, there := range []bool{true, false} { // the way on which records are dropped
				s := open(l, StreamOptions{Protocol: p, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80"), Rate: 500})
				Expect(records(s, 20).Lost()).To(BeZero())
				way := "dport"
				if !there {
					way = "sport"
				}
				nft(l, "n1", "add rule inet t forward th "+way+" 80 drop")
				stats, err := s.WaitCut(ctx)
				Expect(err).NotTo(HaveOccurred())
				before := stats
				records(s, 20)
				nft(l, "n1", "flush chain inet t forward")
				back, err := s.Wait(ctx, func(t StreamStats) bool { return t.Silent == 0 })
				Expect(err).NotTo(HaveOccurred())
				records(s, 20)
				stats = s.Close()
				Expect(stats.Err).NotTo(HaveOccurred())
				Expect(stats.MostSilent).To(BeNumerically(">=", 23))
				if p == model.TCP {
					Expect(stats.Lost()).To(BeZero(), "TCP sends it again")
					Expect(stats.Late).To(BeNumerically(">=", 20))
					continue
				}
				// Each record from the cut to its end is lost and no other.
				Expect(stats.Lost()).To(And(BeNumerically(">=", before.Lost()+20), Equal(back.Lost()), Equal(stats.MostSilent)))
				Expect(stats.Late).To(BeZero())
				if there {
					Expect(stats.Arrived).To(Equal(stats.Received))
				} else {
					Expect(stats.Arrived).To(Equal(stats.Sent))
				}
			}
		}
	})

	It("sees a reset and ICMP errors", func() {
		l := bring(world(Routed))
		nft(l, "n1", "table inet t {\n chain forward { type filter hook forward priority 0; }\n }")
		tcp := open(l, StreamOptions{Protocol: model.TCP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80")})
		udp := open(l, StreamOptions{Protocol: model.UDP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80")})
		records(tcp, 3)
		records(udp, 3)
		nft(l, "n1", "add rule inet t forward tcp dport 80 reject with tcp reset\nadd rule inet t forward udp dport 80 reject")
		stats, err := tcp.WaitCut(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(stats.Err).To(MatchError(unix.ECONNRESET))
		_, err = udp.WaitCut(ctx)
		Expect(err).NotTo(HaveOccurred())
		stats = records(udp, 10)
		Expect(stats.Refused).To(BeNumerically(">=", 10))
		Expect(stats.Err).NotTo(HaveOccurred())
		Expect(stats.Lost()).To(Equal(stats.Silent))
	})

	It("follows a service to its backend", func() {
		l := bring(world(Bridge))
		Expect(l.SetServices(Service{Addr: addrPort("10.96.0.1:80"), Protocol: model.TCP, Backends: addrPorts("10.1.1.11:8080", "10.1.2.10:8080")})).To(Succeed())
		s := open(l, StreamOptions{Protocol: model.TCP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.96.0.1:80")})
		Expect(records(s, 5).Lost()).To(BeZero())
		s.Close()
		_, err := s.WaitCut(ctx)
		Expect(err).To(HaveOccurred())
	})

	It("is refused where it makes no sense, or where nothing answers", func() {
		l := bring(world(Routed))
		_, err := l.OpenStream(ctx, StreamOptions{Protocol: model.SCTP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80")})
		Expect(err).To(HaveOccurred())
		_, err = l.OpenStream(ctx, StreamOptions{Protocol: model.TCP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:0")})
		Expect(err).To(HaveOccurred())
		nft(l, "n1", "table inet t {\n chain forward { type filter hook forward priority 0; tcp dport 80 drop; tcp dport 81 reject with tcp reset; }\n }")
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err = l.OpenStream(short, StreamOptions{Protocol: model.TCP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80")})
		Expect(err).To(MatchError(ContainSubstring("no connection")))
		_, err = l.OpenStream(ctx, StreamOptions{Protocol: model.TCP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:81")})
		Expect(err).To(MatchError(unix.ECONNREFUSED))
	})
})
