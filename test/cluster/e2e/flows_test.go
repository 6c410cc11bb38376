//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/cluster/probe"
)

const minute = time.Minute

// flow is one new connection or datagram from a place to another.
type flow struct {
	from, to *place
	network  string
	port     int
	// address of the receiver's, or of a Service, to which it is sent.
	address netip.Addr
	// answers are who may answer; empty: to alone.
	answers []string
}

func (f flow) String() string {
	return fmt.Sprintf("%s → %s %s %s", f.from, f.to, f.network, netip.AddrPortFrom(f.address, uint16(f.port)))
}

// service is a port of an endpoint.
type service struct {
	network string
	port    int
}

func tcp(port int) service { return service{probe.TCP, port} }
func udp(port int) service { return service{probe.UDP, port} }

// flows are those of all given places to all others, on each of the ports and,
// if there are two, by both families.
func flows(from, to []*place, ports ...service) []flow {
	var all []flow
	for _, f := range from {
		for _, t := range to {
			if f == t {
				continue
			}
			for _, a := range t.addresses {
				for _, p := range ports {
					all = append(all, flow{from: f, to: t, network: p.network, port: p.port, address: a})
				}
			}
		}
	}
	return all
}

// expect waits until each flow is allowed or denied as want says, and then
// looks a second time. A denied flow has to be dropped, and its receiver must
// not have seen it.
func expect(ctx context.Context, all []flow, want func(f flow) bool) {
	GinkgoHelper()
	Expect(all).NotTo(BeEmpty())
	var wrong []string
	deadline := time.Now().Add(30 * time.Second)
	for good := 0; good < 2; good++ {
		if wrong = tryAll(ctx, all, want); len(wrong) > 0 {
			good = -1
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
	}
	if len(wrong) > 20 {
		wrong = append(wrong[:20], fmt.Sprintf("and %d more", len(wrong)-20))
	}
	Expect(wrong).To(BeEmpty(), "of %d flows:\n%s", len(all), strings.Join(wrong, "\n"))
}

// expectAllowed wants all of the flows to be.
func expectAllowed(ctx context.Context, all []flow) {
	GinkgoHelper()
	expect(ctx, all, func(flow) bool { return true })
}

// expectDenied wants all of the flows to be.
func expectDenied(ctx context.Context, all []flow) {
	GinkgoHelper()
	expect(ctx, all, func(flow) bool { return false })
}

// tryAll probes each flow once, all at the same time, and says what is not as
// it should be.
func tryAll(ctx context.Context, all []flow, want func(f flow) bool) []string {
	by := map[*place][]flow{}
	for _, f := range all {
		by[f.from] = append(by[f.from], f)
	}
	var mu sync.Mutex
	var wrong []string
	var everybody sync.WaitGroup
	for from, some := range by {
		everybody.Go(func() {
			said := tryFrom(ctx, from, some, want)
			mu.Lock()
			defer mu.Unlock()
			wrong = append(wrong, said...)
		})
	}
	everybody.Wait()
	slices.Sort(wrong)
	return wrong
}

func tryFrom(ctx context.Context, from *place, some []flow, want func(f flow) bool) []string {
	requests := make([]probe.Request, len(some))
	for i, f := range some {
		requests[i] = probe.Request{Network: f.network, To: netip.AddrPortFrom(f.address, uint16(f.port)).String()}
	}
	results, err := from.probe.Probes(ctx, requests)
	if err != nil || len(results) != len(some) {
		return []string{fmt.Sprintf("%s: %v", from, err)}
	}
	var wrong []string
	for i, f := range some {
		if r := results[i]; !right(ctx, f, r, want(f)) {
			wrong = append(wrong, fmt.Sprintf("%s: %s, want allowed: %t", f, r, want(f)))
		}
	}
	return wrong
}

func right(ctx context.Context, f flow, r probe.Result, allowed bool) bool {
	if allowed {
		return r.Outcome == probe.Answered && (r.Name == f.to.name || slices.Contains(f.answers, r.Name))
	}
	if r.Outcome != probe.Dropped || f.network != probe.UDP || len(f.answers) > 0 {
		return r.Outcome == probe.Dropped
	}
	seen, err := f.to.probe.Seen(ctx, r.Token)
	return err == nil && seen[0].Count == 0
}
