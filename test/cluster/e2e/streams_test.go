//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/cluster/probe"
)

// stream is one under way from a place to another.
type stream struct {
	name     string
	from, to *place
	id       string
	kind     probe.Kind
	ended    bool
}

// startStreams begins a stream of each kind, for each family, and waits until
// there are answers. All are stopped when the spec is over.
func startStreams(ctx context.Context, from, to string, kinds ...probe.Kind) []*stream {
	GinkgoHelper()
	all := beginStreams(ctx, from, to, kinds...)
	for _, s := range all {
		Eventually(ctx, func(g Gomega) {
			c, err := s.from.probe.Counts(ctx, s.id)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(c.Answered).To(BeNumerically(">", 10), "%s: %s", s.name, c)
		}).Should(Succeed())
	}
	return all
}

// beginStreams does not wait for answers.
func beginStreams(ctx context.Context, from, to string, kinds ...probe.Kind) []*stream {
	GinkgoHelper()
	var all []*stream
	f, t := pods.at(from), pods.at(to)
	for _, a := range t.addresses {
		for _, k := range kinds {
			address := netip.AddrPortFrom(a, port80).String()
			s := &stream{name: fmt.Sprintf("%s of %s to %s %s", k, from, to, address), from: f, to: t, kind: k}
			// What is wanted of a connection may be in force a moment later.
			Eventually(ctx, func() (err error) {
				s.id, err = f.probe.Start(ctx, probe.StreamRequest{Kind: k, To: address})
				return err
			}).Should(Succeed(), s.name)
			DeferCleanup(func(ctx SpecContext) {
				if !s.ended {
					_, _ = f.probe.Stop(ctx, s.id)
				}
			})
			all = append(all, s)
		}
	}
	return all
}

// stop ends a stream and returns its counts.
func (s *stream) stop(ctx context.Context) probe.Counts {
	GinkgoHelper()
	c, err := s.from.probe.Stop(ctx, s.id)
	Expect(err).NotTo(HaveOccurred(), s.name)
	s.ended = true
	return c
}

// expectSilent waits until nothing is answered any more for two seconds.
func (s *stream) expectSilent(ctx context.Context) {
	GinkgoHelper()
	answered, since := -1, time.Now()
	Eventually(ctx, func(g Gomega) {
		c, err := s.from.probe.Counts(ctx, s.id)
		g.Expect(err).NotTo(HaveOccurred())
		if c.Answered != answered {
			answered, since = c.Answered, time.Now()
		}
		g.Expect(time.Since(since)).To(BeNumerically(">", 2*time.Second), "%s goes on: %s", s.name, c)
	}).Should(Succeed())
}

// expectWhole ends a stream of which every message must have been answered.
func (s *stream) expectWhole(ctx context.Context) {
	GinkgoHelper()
	Expect(s.notWhole(ctx)).To(BeEmpty())
}

// notWhole ends a stream and says what was lost of it; empty: nothing.
func (s *stream) notWhole(ctx context.Context) string {
	GinkgoHelper()
	c := s.stop(ctx)
	if c.Sent > 10 && c.Lost()+c.Refused+c.Failed+c.Again == 0 && c.Broken == "" {
		return ""
	}
	return fmt.Sprintf("%s: %s", s.name, c)
}

// notNothing ends a stream of which not one message may have been answered, and
// not one datagram seen by its receiver, and says what was; empty: nothing.
func (s *stream) notNothing(ctx context.Context) string {
	GinkgoHelper()
	c := s.stop(ctx)
	seen, err := s.to.probe.Seen(ctx, c.Token)
	Expect(err).NotTo(HaveOccurred())
	if c.Sent > 10 && c.Answered+c.Refused == 0 && seen[0].Count == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s; %d seen", s.name, c, seen[0].Count)
}
