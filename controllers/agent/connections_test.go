package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
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

// of is a tracked connection of a protocol, without NAT.
func of(p model.Protocol, src, dst string) *conntrack.Entry {
	c := conn(src, dst)
	c.Original.Protocol, c.Reply.Protocol = p, p
	return c
}

// barring is a backend that bars flows.
type barring struct {
	*fake.Backend
	fail  error
	early func() bool // nothing has been cut yet

	mu     sync.Mutex
	barred map[model.Flow]bool
	late   bool // the first bar came after the cut
}

func (b *barring) Bar(_ context.Context, flows []model.Flow) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if b.barred == nil {
		b.barred, b.late = map[model.Flow]bool{}, !b.early()
	}
	for _, f := range flows {
		b.barred[f] = true
	}
	return nil
}

func (b *barring) Unbar(_ context.Context, flows []model.Flow) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range flows {
		delete(b.barred, f)
	}
	return b.fail
}

func (b *barring) flows() []model.Flow {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.barred))
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

	It("stay cut where the other side's packets make them anew, until none have come for long", func() {
		denied, back := of(model.UDP, "10.0.0.1:4000", "10.0.0.2:53"), of(model.UDP, "10.0.0.2:53", "10.0.0.1:4000")
		another := of(model.UDP, "10.0.0.2:53", "10.0.0.1:4001") // the policy allows it
		r := newRig(nil)
		r.table.Add(denied)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(denied))
		for n := 1; n <= 3; n++ { // as often as it comes, after however long a pause
			for range n * 3 {
				r.rest(20 * time.Second)
			}
			r.table.Add(back, another)
			Eventually(func() int { r.rest(10 * time.Second); return len(r.table.Deleted()) }).Should(Equal(1 + n))
			Expect(r.table.Deleted()[n]).To(Equal(back))
		}
		for range 60 {
			r.rest(20 * time.Second)
		}
		lists := r.table.Lists()
		r.table.Add(back)
		r.to.Update(objects(allowTo("db", "db", 5433)), nil)
		r.next()
		Eventually(r.table.Lists).Should(BeNumerically(">", lists))
		Consistently(r.table.Entries, "20ms").Should(ContainElement(back))
	})

	It("come back when the policy allows the side that had begun", func() {
		denied, back := of(model.UDP, "10.0.0.1:4000", "10.0.0.2:53"), of(model.UDP, "10.0.0.2:53", "10.0.0.1:4000")
		r := newRig(nil)
		r.table.Add(denied)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(denied))
		lists := r.table.Lists()
		r.table.Add(back)
		r.to.Update(objects(strings.Replace(allowTo("db", "db", 53), "TCP", "UDP", 1)), nil)
		r.next()
		Eventually(r.table.Lists).Should(BeNumerically(">", lists))
		Consistently(r.table.Deleted, "20ms").Should(ConsistOf(denied))
	})

	It("of equal ports are cut in reverse for what was under way only", func() {
		denied, back := of(model.UDP, "10.0.0.1:500", "10.0.0.2:500"), of(model.UDP, "10.0.0.2:500", "10.0.0.1:500")
		r := newRig(nil)
		r.table.Add(denied)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(denied))
		r.table.Add(back)
		Eventually(func() int { r.rest(100 * time.Millisecond); return len(r.table.Deleted()) }).Should(Equal(2))
		for range 20 {
			r.rest(500 * time.Millisecond)
		}
		lists := r.table.Lists()
		r.table.Add(back)
		r.to.Update(objects(allowTo("db", "db", 5433)), nil)
		r.next()
		Eventually(r.table.Lists).Should(BeNumerically(">", lists))
		Consistently(r.table.Entries, "20ms").Should(ContainElement(back))
	})

	It("are barred in the kernel before they are cut, and no longer when they are allowed", func() {
		tcp, sctp := conn("10.0.0.1:4000", "10.0.0.2:80"), of(model.SCTP, "10.0.0.1:36412", "10.0.0.2:36412")
		udp, peers := of(model.UDP, "10.0.0.1:4000", "10.0.0.2:53"), of(model.UDP, "10.0.0.1:500", "10.0.0.2:500")
		allowed := conn("10.0.0.1:4001", "10.0.0.2:5432")
		bar := &barring{}
		r := newRig(func(o *Options) {
			bar.Backend = o.Backend.(*fake.Backend)
			o.Backend = bar
		})
		bar.early = func() bool { return len(r.table.Deleted()) == 0 }
		r.table.Add(tcp, sctp, udp, peers, allowed)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(tcp, sctp, udp, peers))
		Expect(bar.flows()).To(ConsistOf(reverse(tcp.Flow()), reverse(sctp.Flow()), reverse(udp.Flow())))
		Expect(bar.late).To(BeFalse())
		lists := r.table.Lists()
		r.to.Update(objects(strings.Replace(allowTo("db", "db", 53), "TCP", "UDP", 1)), nil)
		r.next()
		Eventually(r.table.Deleted).Should(ContainElement(allowed))
		Eventually(bar.flows).Should(ConsistOf(reverse(tcp.Flow()), reverse(sctp.Flow()), reverse(allowed.Flow())))
		Expect(r.table.Lists()).To(Equal(lists + 1))
		// The kernel keeps them out: once more a second later, and no look after that.
		Eventually(func() int { r.rest(time.Second); return r.table.Lists() }).Should(Equal(lists + 2))
		for range 20 {
			r.rest(10 * time.Second)
		}
		Expect(r.table.Lists()).To(Equal(lists + 2))
	})

	It("that cannot be barred are cut all the same", func() {
		c := conn("10.0.0.1:4000", "10.0.0.2:80")
		r := newRig(func(o *Options) { o.Backend = &barring{Backend: o.Backend.(*fake.Backend), fail: errors.New("full")} })
		r.table.Add(c)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(c))
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("bar"))).To(Equal(1.0))
	})

	It("of several paths are cut on all of them, whichever side has begun a path", func() {
		first := of(model.SCTP, "10.0.0.1:4000", "10.0.0.2:80")
		byServer := of(model.SCTP, "10.0.0.2:80", "10.9.0.11:4000")
		toOther := of(model.SCTP, "10.0.0.2:80", "10.9.0.12:4001") // another association's
		begun := of(model.SCTP, "10.0.0.2:81", "10.0.0.1:4000")    // begun by the server
		r := newRig(nil)
		r.table.Add(byServer, first, toOther, begun)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(first, byServer))
		again := of(model.SCTP, "10.0.0.2:80", "10.9.0.11:4000")
		r.table.Add(again)
		Eventually(func() []*conntrack.Entry { r.rest(100 * time.Millisecond); return r.table.Deleted() }).Should(ConsistOf(first, byServer, again))
	})

	It("are kept in mind up to a number", func() {
		c := cuts{back: map[model.Flow]cutFlow{}}
		f := of(model.UDP, "10.0.0.1:1", "10.0.0.2:53").Flow()
		for n := range dataplane.MaxBarred + 100 {
			f.SrcPort, f.DstPort = uint16(n), uint16(n>>8)
			c.add(f, nil, start)
			c.add(f, nil, start)
		}
		Expect(c.back).To(HaveLen(dataplane.MaxBarred))
		Expect(c.back).To(HaveKey(f))
		Expect(len(c.order)).To(BeNumerically("<=", 2*dataplane.MaxBarred+64))
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
