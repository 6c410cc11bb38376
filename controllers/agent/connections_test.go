package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

// conn is a tracked TCP connection without NAT.
func conn(src, dst string) *conntrack.Entry {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return natConn(src, dst, netip.AddrPortFrom(d.Addr(), d.Port()).String(), s.String())
}

func natConn(src, dst, replySrc, replyDst string) *conntrack.Entry {
	tuple := func(a, b string) conntrack.Tuple {
		s, d := netip.MustParseAddrPort(a), netip.MustParseAddrPort(b)
		return conntrack.Tuple{Src: s.Addr(), SrcPort: s.Port(), Dst: d.Addr(), DstPort: d.Port(), Protocol: model.TCP}
	}
	return &conntrack.Entry{Original: tuple(src, dst), Reply: tuple(replySrc, replyDst)}
}

// gated is a table that calls before each list.
type gated struct {
	conntrack.Table
	before func()
}

func (g gated) List(ctx context.Context, visit func(*conntrack.Entry) bool) error {
	g.before()
	return g.Table.List(ctx, visit)
}

var _ = Describe("established connections", func() {
	It("are cut after the transaction that denies them, and at the start", func() {
		denied, allowed := conn("10.0.0.1:4000", "10.0.0.2:80"), conn("10.0.0.1:4001", "10.0.0.2:5432")
		r := newRig(nil)
		r.table.Add(denied, allowed)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(denied))
		r.to.Update(objects(allowTo("db", "db", 5433)), nil)
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(denied, allowed))
		Eventually(func() float64 { return testutil.ToFloat64(r.metrics.swept) }).Should(Equal(2.0))
	})

	It("hold up no transaction while they are listed, and are judged by what holds then", func() {
		denied, spared := conn("10.0.0.1:4000", "10.0.0.2:5432"), conn("10.0.0.1:4001", "10.0.0.2:5433")
		gate, listing := make(chan struct{}), make(chan struct{}, 100)
		var closed atomic.Bool
		r := settled(func(o *Options) {
			o.Conntrack = gated{o.Conntrack, func() {
				listing <- struct{}{}
				if closed.Load() {
					<-gate
				}
			}}
		})
		Eventually(listing).Should(Receive())
		closed.Store(true)
		r.table.Add(denied, spared)
		r.to.Update(objects(allowTo("db", "db", 1)), nil) // denies both
		r.next()
		Eventually(listing).Should(Receive())
		r.to.Update(objects(allowTo("db", "db", 5433)), nil)
		r.next()
		Expect(r.table.Deleted()).To(BeEmpty())
		close(gate)
		Eventually(r.table.Deleted).Should(ConsistOf(denied))
		Eventually(listing).Should(Receive()) // of the second transaction
		Expect(r.table.Entries()).To(ConsistOf(spared))
	})

	It("wait for the kernel if it has fallen behind while they were listed", func() {
		denied := conn("10.0.0.1:4000", "10.0.0.2:5432")
		gate, listing := make(chan struct{}), make(chan struct{}, 100)
		var closed, failing atomic.Bool
		r := newRig(func(o *Options) {
			o.Conntrack = gated{o.Conntrack, func() {
				listing <- struct{}{}
				if closed.Load() {
					<-gate
				}
			}}
		})
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			if failing.Load() {
				return syscall.ENOBUFS
			}
			return nil
		}
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(listing).Should(Receive())
		closed.Store(true)
		r.table.Add(denied)
		r.to.Update(objects(allowTo("db", "db", 1)), nil)
		r.next()
		Eventually(listing).Should(Receive())
		failing.Store(true)
		r.to.Update(objects(pod("new", "10.0.0.9")), nil)
		Expect(r.next().Err).To(HaveOccurred())
		gate <- struct{}{}
		Consistently(r.table.Deleted, "20ms").Should(BeEmpty())
		close(gate)
		failing.Store(false)
		Eventually(func() []*conntrack.Entry {
			r.clock.Step(100 * time.Millisecond)
			return r.table.Deleted()
		}).Should(ConsistOf(denied))
	})

	It("of others are not asked about", func() {
		r := settled(nil)
		Eventually(r.table.Lists).Should(Equal(1))
		stray := conn("10.0.0.77:4000", "10.0.0.2:5432") // the policy does not allow it, but nothing changes for it
		r.table.Add(stray)
		r.to.Update(objects(pod("new", "10.0.0.9")), nil)
		r.next()
		Eventually(r.table.Lists).Should(Equal(2))
		Expect(r.table.Deleted()).To(BeEmpty())
	})

	It("are not swept for a policy that says what it said before", func() {
		r := settled(nil)
		Eventually(r.table.Lists).Should(Equal(1))
		r.to.Update(objects(allowTo("db", "db", 5432)), nil)
		r.next()
		r.to.Update(objects(pod("new", "10.0.0.9")), nil)
		r.next()
		Eventually(r.table.Lists).Should(Equal(2))
	})

	It("are cut when their peer leaves a set, a little later", func() {
		remote := strings.Replace(pod("web", "10.0.1.1"), "nodeName: node", "nodeName: other", 1)
		r := settled(nil)
		r.to.Update(objects(strings.Replace(remote, "name: web,", "name: web2,", 1)), nil)
		r.next()
		c := conn("10.0.1.1:4000", "10.0.0.2:5432")
		r.table.Add(c)
		r.to.Update(nil, []model.Ref{ref("Pod/shop/web2")})
		r.next()
		Eventually(func() []*conntrack.Entry {
			r.clock.Step(100 * time.Millisecond)
			return r.table.Deleted()
		}).Should(ConsistOf(c))
	})

	It("are swept once more a little later, for what was on its way", func() {
		r := settled(nil)
		late := conn("10.0.0.1:4000", "10.0.0.2:80")
		Eventually(r.table.Lists).Should(Equal(1))
		r.table.Add(late)
		Eventually(func() []*conntrack.Entry {
			r.clock.Step(100 * time.Millisecond)
			return r.table.Deleted()
		}).Should(ConsistOf(late))
	})

	It("are cut in reverse too where an answer under way has made them anew, and only then", func() {
		udp := func(src, dst string) *conntrack.Entry {
			c := conn(src, dst)
			c.Original.Protocol, c.Reply.Protocol = model.UDP, model.UDP
			return c
		}
		denied, turned := udp("10.0.0.1:4000", "10.0.0.2:53"), udp("10.0.0.2:53", "10.0.0.1:4000")
		another := udp("10.0.0.2:53", "10.0.0.1:4001") // the policy lets it
		r := newRig(nil)
		r.table.Add(denied)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(denied))
		for n := 1; n <= 3; n++ { // as often as it comes
			r.table.Add(turned, another)
			Eventually(func() int { r.clock.Step(100 * time.Millisecond); return len(r.table.Deleted()) }).Should(Equal(1 + n))
			Expect(r.table.Deleted()[n]).To(Equal(turned))
		}
		// Nobody has come back: from now on it is a connection like others.
		lists := r.table.Lists()
		Eventually(func() int { r.clock.Step(100 * time.Millisecond); return r.table.Lists() }).Should(Equal(lists + 1))
		r.table.Add(turned)
		r.to.Update(objects(allowTo("db", "db", 5433)), nil)
		r.next()
		Eventually(r.table.Lists).Should(BeNumerically(">", lists+1))
		Expect(r.table.Entries()).To(ContainElement(turned))
	})

	It("are left alone while the kernel still has the old rules", func() {
		c := conn("10.0.0.1:4000", "10.0.0.2:80")
		r := newRig(nil)
		r.table.Add(c)
		n := 0
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			if n++; n <= 5 {
				Expect(r.table.Deleted()).To(BeEmpty())
				return syscall.ENOBUFS
			}
			return nil
		}
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		for range 6 {
			r.nextAfter(100 * time.Millisecond)
		}
		Eventually(r.table.Deleted).Should(ConsistOf(c))
	})

	It("are judged by the address behind the service, and before it where policies stand before DNAT", func() {
		toBackend := natConn("10.0.0.1:4000", "10.96.0.1:80", "10.0.0.2:5432", "10.0.0.1:4000")
		toNode := natConn("203.0.113.1:4000", "192.0.2.1:30000", "10.0.0.1:80", "203.0.113.1:4000")
		r := newRig(nil)
		r.table.Add(toBackend, toNode)
		r.run()
		r.to.Update(objects(join(small, `
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: host}
spec: {node: node, interfaceName: "*", expectedIPs: [192.0.2.1], defaultAction: Allow}
`)), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Lists).Should(BeNumerically(">=", 1))
		r.to.Update(objects(`
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: no-node-ports}
spec:
  tier: default
  preDNAT: true
  applyOnForward: true
  types: [Ingress]
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [30000]}}]
`), nil)
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(toNode))
	})

	It("that cannot be listed are an error, and nothing else", func() {
		r := newRig(nil)
		r.table.Fail(errors.New("no conntrack"))
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(func() float64 { return testutil.ToFloat64(r.metrics.errors.WithLabelValues("conntrack")) }).Should(Equal(1.0))
		Expect(r.Ready()).To(Succeed())
	})
})
