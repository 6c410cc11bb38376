package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

const world = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}
---
apiVersion: v1
kind: Node
metadata: {name: node}
spec: {podCIDRs: [10.0.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
`

func pod(name, addr string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {nodeName: node, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: %s, podIPs: [{ip: %s}]}
`, name, name, addr, addr)
}

// allowTo is a policy that lets web in to an app, at a port.
func allowTo(name, app string, port int) string {
	return fmt.Sprintf(`
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: %s}
spec:
  tier: default
  selector: app == '%s'
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [%d]}}
`, name, app, port)
}

func join(manifests ...string) string { return strings.Join(manifests, "\n---\n") }

var small = join(world, pod("web", "10.0.0.1"), pod("db", "10.0.0.2"), allowTo("db", "db", 5432))

// settled starts an agent with a small world and returns after its first transaction.
func settled(change func(*Options)) *rig {
	GinkgoHelper()
	r := newRig(change).run()
	r.to.Update(objects(small), nil)
	r.to.Synced()
	c := r.next()
	Expect(c.Err).NotTo(HaveOccurred())
	Expect(c.Op).To(Equal(fake.Sync))
	return r
}

var _ = Describe("the agent", func() {
	It("needs a source and a backend", func() {
		_, err := New(Options{})
		Expect(err).To(HaveOccurred())
	})

	It("writes nothing before the source is in sync, and then everything in one transaction", func() {
		r := newRig(nil).run()
		r.to.Update(objects(join(world, pod("web", "10.0.0.1"))), nil)
		Eventually(func() float64 { return testutil.ToFloat64(r.metrics.endpoints) }).Should(Equal(1.0))
		Expect(r.backend.Done).NotTo(Receive())
		Expect(r.Ready()).To(MatchError(ContainSubstring("waiting for the source")))
		r.to.Update(objects(join(pod("db", "10.0.0.2"), allowTo("db", "db", 5432))), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.World.Endpoints).To(HaveLen(2))
		Expect(c.World.Node).To(Equal("node"))
		Expect(c.World.NodeAddrs).To(ConsistOf(netip.MustParseAddr("192.0.2.1")))
		Expect(c.World.PodCIDRs).To(ConsistOf(netip.MustParsePrefix("10.0.0.0/24")))
		Eventually(r.Ready).Should(Succeed())
	})

	It("enforces the endpoints of its own node only", func() {
		r := settled(nil)
		r.to.Update(objects(strings.Replace(pod("far", "10.0.1.1"), "nodeName: node", "nodeName: other", 1)), nil)
		r.to.Update(objects(pod("near", "10.0.0.3")), nil)
		Expect(r.next().World.Endpoints).To(And(HaveKey(ref("Pod/shop/near")), Not(HaveKey(ref("Pod/shop/far")))))
	})

	It("makes one transaction of what comes in while another is under way", func() {
		gate, busy := make(chan struct{}), make(chan struct{}, 100)
		r := newRig(nil)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			busy <- struct{}{}
			<-gate
			return nil
		}
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		Eventually(busy).Should(Receive())
		for i := range 100 {
			r.to.Update(objects(pod(fmt.Sprintf("p%d", i), fmt.Sprintf("10.0.0.%d", 100+i))), nil)
		}
		r.to.Update(nil, []model.Ref{ref("Pod/shop/p7")})
		close(gate)
		Expect(r.next().World.Endpoints).To(HaveLen(2))
		c := r.next()
		Expect(c.Op).To(Equal(fake.Apply))
		Expect(c.World.Endpoints).To(HaveLen(101))
	})

	It("takes a change at once, and what follows closely together", func() {
		const delay = 50 * time.Millisecond
		r := newRig(func(o *Options) { o.Delay = delay })
		r.queue.Update(objects(small), nil)
		r.queue.Synced()
		r.run()
		r.next()
		r.rest(delay)
		add := func(name, addr string) { r.to.Update(objects(pod(name, addr)), nil) }
		add("p1", "10.0.0.11")
		Expect(r.next().World.Endpoints).To(HaveLen(3))
		for i := range 3 {
			add(fmt.Sprintf("q%d", i), fmt.Sprintf("10.0.0.2%d", i))
		}
		Consistently(r.backend.Done, "20ms").ShouldNot(Receive())
		c, took := r.nextAfter(10 * time.Millisecond)
		Expect(took).To(BeNumerically(">=", delay))
		Expect(c.World.Endpoints).To(HaveLen(6))
	})

	It("syncs when settings or its node change, for no change says so", func() {
		r := settled(nil)
		r.to.Update(objects(`
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {endpointToHostAction: Drop}
`), nil)
		c := r.next()
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.World.Settings.EndpointToHost).To(Equal(model.ToHostDrop))
	})

	It("tells of other nodes' pods within its own blocks, whichever came first", func() {
		far := func(name, addr string) []runtime.Object {
			return objects(strings.Replace(pod(name, addr), "nodeName: node", "nodeName: other", 1))
		}
		r := newRig(nil).run()
		r.to.Update(far("early", "10.0.0.50"), nil)
		r.to.Update(far("outside", "10.0.1.50"), nil)
		Eventually(func() int { r.queue.mu.Lock(); defer r.queue.mu.Unlock(); return len(r.queue.order) }).Should(BeZero())
		r.to.Update(objects(small), nil)
		r.to.Synced()
		Expect(r.next().World.Foreign).To(ConsistOf(netip.MustParseAddr("10.0.0.50")))
		r.to.Update(far("late", "10.0.0.49"), nil)
		Expect(r.next().World.Foreign).To(ConsistOf(netip.MustParseAddr("10.0.0.49"), netip.MustParseAddr("10.0.0.50")))
		r.to.Update(nil, []model.Ref{ref("Pod/shop/early")})
		r.to.Update(objects(pod("late", "10.0.0.49")), nil)
		c := r.next()
		if len(c.World.Foreign) > 0 { // the two may have come apart
			c = r.next()
		}
		Expect(c.World.Foreign).To(BeEmpty())
	})

	It("does nothing where nothing changes", func() {
		r := settled(nil)
		r.to.Update(objects(join(world, pod("web", "10.0.0.1"), pod("db", "10.0.0.2"))), nil)
		r.to.Update(objects(pod("new", "10.0.0.3")), nil)
		Expect(r.next().World.Endpoints).To(HaveLen(3))
		Expect(r.backend.Done).NotTo(Receive())
	})

	It("compares the kernel with what it should hold, now and then and when told", func() {
		r := settled(nil)
		r.Resync()
		Expect(r.next().Op).To(Equal(fake.Sync))
		c, took := r.nextAfter(10 * time.Second)
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(took).To(BeNumerically(">", 4*time.Minute))
		Expect(testutil.ToFloat64(r.metrics.resyncs)).To(Equal(1.0))
	})

	It("leaves the kernel's rules alone when it ends", func() {
		r := settled(nil)
		r.cancel()
		var err error
		Eventually(r.over).Should(Receive(&err))
		Expect(err).NotTo(HaveOccurred())
		Expect(r.backend.World().Endpoints).To(HaveLen(2))
		Expect(r.backend.Done).NotTo(Receive())
		Expect(r.Run(GinkgoT().Context())).NotTo(Succeed())
	})

	It("ends with the source", func() {
		r := newRig(nil).run()
		r.source.end <- errors.New("no more")
		var err error
		Eventually(r.over).Should(Receive(&err))
		Expect(err).To(MatchError("source: no more"))
		Expect(r.Ready()).NotTo(Succeed())
	})

	It("lets no invalid object stop the others", func() {
		r := newRig(nil).run()
		bad := strings.Replace(allowTo("bad", "web", 80), "app == 'web'", "app === 'web'", 1)
		r.to.Update(objects(join(small, bad, "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}")), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.Err).NotTo(HaveOccurred())
		Expect(c.World.Endpoints).To(HaveLen(2))
		Expect(testutil.ToFloat64(r.metrics.invalid)).To(Equal(1.0))
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("object"))).To(BeNumerically(">=", 1))
		Eventually(r.logs.lines).Should(Receive(ContainSubstring("GlobalNetworkPolicy/bad")))
		r.to.Update(objects(allowTo("bad", "web", 80)), nil)
		r.next()
		Eventually(func() float64 { return testutil.ToFloat64(r.metrics.invalid) }).Should(Equal(0.0))
	})

	It("tells of what is wrong with the source", func() {
		r := settled(nil)
		r.to.Report(errors.New("first"), errors.New("second"))
		Eventually(func() float64 { return testutil.ToFloat64(r.metrics.sourceErrors) }).Should(Equal(2.0))
		Eventually(r.logs.lines).Should(Receive(ContainSubstring("second")))
		r.to.Report()
		Eventually(func() float64 { return testutil.ToFloat64(r.metrics.sourceErrors) }).Should(Equal(0.0))
	})
})

var _ = Describe("a failing backend", func() {
	broken := func(r *rig, times int, err error) {
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			if times--; times >= 0 {
				return err
			}
			return nil
		}
	}

	It("is tried again with growing pauses, by Sync", func() {
		r := newRig(nil)
		broken(r, 5, fmt.Errorf("nft: %w", syscall.ENOBUFS))
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		Expect(r.next().Err).To(MatchError(syscall.ENOBUFS))
		const step = 10 * time.Millisecond
		for _, pause := range []time.Duration{100, 200, 400, 800} {
			c, took := r.nextAfter(step)
			Expect(c.Op).To(Equal(fake.Sync))
			Expect(c.Err).To(HaveOccurred())
			Expect(took).To(BeNumerically(">=", pause*time.Millisecond-step))
			Eventually(r.Ready).Should(MatchError(ContainSubstring("no buffer space")))
			Expect(r.Healthy()).To(Succeed())
		}
		c, _ := r.nextAfter(step)
		Expect(c.Err).NotTo(HaveOccurred())
		Expect(c.World.Endpoints).To(HaveLen(2))
		Eventually(r.Ready).Should(Succeed())
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("sync"))).To(Equal(5.0))
	})

	It("loses no change that fails on the way", func() {
		r := newRig(nil)
		fail := make(chan error, 1)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			select {
			case err := <-fail:
				return err
			default:
				return nil
			}
		}
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		fail <- syscall.EBUSY
		r.to.Update(objects(pod("p1", "10.0.0.11")), nil)
		c := r.next()
		Expect(c.Op).To(Equal(fake.Apply))
		Expect(c.Err).To(HaveOccurred())
		r.to.Update(objects(pod("p2", "10.0.0.12")), nil)
		c, _ = r.nextAfter(10 * time.Millisecond)
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.World.Endpoints).To(HaveLen(4))
		r.to.Update(objects(pod("p3", "10.0.0.13")), nil)
		Expect(r.next().Op).To(Equal(fake.Apply))
	})

	It("shortens pauses at random, and bounds them", func() {
		jitter := 0.0
		a, err := New(Options{Source: newScript(), Backend: &fake.Backend{}, Jitter: func() float64 { return jitter }})
		Expect(err).NotTo(HaveOccurred())
		a.failures = 3
		Expect(a.backoff()).To(Equal(400 * time.Millisecond))
		jitter = 0.5
		Expect(a.backoff()).To(Equal(300 * time.Millisecond))
		jitter, a.failures = 0, 5000
		Expect(a.backoff()).To(Equal(30 * time.Second))
	})
})

// refuses is an error of a backend that does not take a policy's rules as they
// are; what denies instead it takes.
func refuses(s *dataplane.State, names ...string) error {
	for _, p := range s.Compiled.Programs() {
		for i := range p.Segments {
			for j := range p.Segments[i].Rules {
				if o := p.Segments[i].Rules[j].Leaf.Origin; o.Action == model.Allow && slices.Contains(names, o.Policy.Name) {
					return fmt.Errorf("nft: syntax error in %s", p.ID)
				}
			}
		}
	}
	return nil
}

var _ = Describe("an object that the kernel does not take", func() {
	many := func() string {
		parts := []string{world, pod("web", "10.0.0.250")}
		for i := range 20 {
			parts = append(parts, pod(fmt.Sprintf("app%d", i), fmt.Sprintf("10.0.0.%d", 1+i)), allowTo(fmt.Sprintf("p%d", i), fmt.Sprintf("app%d", i), 8000+i))
		}
		return join(parts...)
	}
	poisoned := []string{"p3", "p11"}
	settle := func(r *rig) fake.Call {
		GinkgoHelper()
		var c fake.Call
		for r.Ready() != nil {
			c, _ = r.nextAfter(20 * time.Millisecond)
		}
		return c
	}
	// held names the objects that the log says are held back, since it was last asked.
	held := func(r *rig) []string {
		GinkgoHelper()
		var out []string
		for {
			select {
			case line := <-r.logs.lines:
				if _, rest, found := strings.Cut(line, "object held back: the kernel does not take it object="); found {
					out = append(out, strings.Fields(rest)[0])
				}
			default:
				return out
			}
		}
	}

	It("denies, and everything else is applied; it comes back when it is mended or the kernel takes it", func() {
		r := newRig(nil)
		bad := make(chan []string, 1)
		bad <- poisoned
		r.backend.Before = func(_ fake.Op, s *dataplane.State) error {
			names := <-bad
			bad <- names
			return refuses(s, names...)
		}
		r.run()
		r.to.Update(objects(many()), nil)
		r.to.Synced()
		settle(r)
		w := r.backend.World()
		Expect(w.Endpoints).To(HaveLen(21))
		Expect(held(r)).To(ConsistOf("GlobalNetworkPolicy/p3", "GlobalNetworkPolicy/p11"))
		Expect(testutil.ToFloat64(r.metrics.held)).To(Equal(2.0))
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("isolated"))).To(Equal(2.0))
		text := func(app string) (out string) {
			for _, id := range r.backend.World().Endpoints[ref("Pod/shop/"+app)].Programs {
				out += r.backend.World().Programs[id]
			}
			return out
		}
		Expect(text("app2")).To(ContainSubstring("8002"))
		Expect(text("app3")).NotTo(ContainSubstring("8003"))
		Expect(text("app3")).To(ContainSubstring("GlobalNetworkPolicy/p3"))

		By("mending one")
		r.to.Update(objects(strings.Replace(allowTo("fine", "app3", 9003), "name: fine", "name: p3", 1)), nil)
		<-bad
		bad <- []string{"p11"}
		Eventually(func() float64 {
			select {
			case <-r.backend.Done:
			default:
			}
			r.clock.Step(10 * time.Millisecond)
			return testutil.ToFloat64(r.metrics.held)
		}).Should(Equal(1.0))
		Expect(text("app3")).To(ContainSubstring("9003"))

		By("a kernel that takes the other")
		<-bad
		bad <- nil
		Eventually(func() float64 {
			select {
			case <-r.backend.Done:
			default:
			}
			r.clock.Step(10 * time.Second)
			return testutil.ToFloat64(r.metrics.held)
		}).Should(Equal(0.0))
		Expect(text("app11")).To(ContainSubstring("8011"))
		Expect(r.Ready()).To(Succeed())
	})

	It("is not looked for when it is the kernel that fails", func() {
		r := newRig(nil)
		up := make(chan struct{})
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			select {
			case <-up:
				return nil
			default:
				return errors.New("nft: cannot")
			}
		}
		r.run()
		r.to.Update(objects(many()), nil)
		r.to.Synced()
		for range 20 {
			r.nextAfter(50 * time.Millisecond)
		}
		close(up)
		for r.Ready() != nil {
			r.nextAfter(50 * time.Millisecond)
		}
		Expect(held(r)).To(BeEmpty())
		Expect(r.backend.World().Endpoints).To(HaveLen(21))
		Expect(testutil.ToFloat64(r.metrics.held)).To(Equal(0.0))
	})

	It("if it is a set of addresses, counts as it was before", func() {
		set := func(nets string) string {
			return join("{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkSet, metadata: {name: peers, labels: {app: web}}, spec: {nets: [" + nets + "]}}")
		}
		r := newRig(nil)
		r.backend.Before = func(_ fake.Op, s *dataplane.State) error {
			for _, set := range s.Compiled.Sets() {
				if len(s.Compiled.Members(set)) > 3 {
					return errors.New("nft: set is full")
				}
			}
			return nil
		}
		r.run()
		r.to.Update(objects(join(small, set("198.51.100.1"))), nil)
		r.to.Synced()
		r.next()
		r.to.Update(objects(join(set("198.51.100.1, 198.51.100.2, 198.51.100.3, 198.51.100.4"), pod("new", "10.0.0.9"))), nil)
		Eventually(func() []string {
			select {
			case <-r.backend.Done:
			default:
			}
			r.clock.Step(20 * time.Millisecond)
			return held(r)
		}).Should(ConsistOf("GlobalNetworkSet/peers"))
		Eventually(r.Ready).Should(Succeed())
		w := r.backend.World()
		Expect(w.Endpoints).To(HaveKey(ref("Pod/shop/new")))
		n := 0
		for _, members := range w.Sets {
			n += len(members)
		}
		Expect(n).To(Equal(2), "web and the one address of the first version: %v", w.Sets)
	})
})

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

var _ = Describe("metrics and probes", func() {
	get := func(h http.Handler, path string) (int, string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		body, _ := io.ReadAll(rec.Body)
		return rec.Code, string(body)
	}

	It("say what there is", func() {
		r := newRig(nil)
		reg := prometheus.NewPedanticRegistry()
		Expect(reg.Register(r.Agent)).To(Succeed())
		h := r.Handler(reg)
		code, body := get(h, "/readyz")
		Expect(code).To(Equal(http.StatusServiceUnavailable))
		Expect(body).To(ContainSubstring("not started"))
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		drop := dataplane.Origin{Tier: "default", Policy: ref("GlobalNetworkPolicy/db"), Rule: model.RuleEndOfTier, Action: model.Deny}
		audit, allow := drop, drop
		audit.Audit = true
		allow.Rule, allow.Action = 0, model.Allow
		r.backend.SetCounters(map[dataplane.Origin]dataplane.Count{
			drop: {Packets: 3, Bytes: 180}, audit: {Packets: 5}, allow: {Packets: 7, Bytes: 420}, {}: {Packets: 11},
		}, nil)
		Eventually(r.Ready).Should(Succeed())
		problems, err := testutil.GatherAndLint(reg)
		Expect(err).NotTo(HaveOccurred())
		Expect(problems).To(BeEmpty())
		code, body = get(h, "/metrics")
		Expect(code).To(Equal(http.StatusOK))
		for _, line := range []string{
			`tierwall_agent_apply_duration_seconds_count{operation="sync",result="success"} 1`,
			`tierwall_agent_last_success_timestamp_seconds 1.767323045e+09`,
			`tierwall_agent_errors_total{kind="sync"} 0`,
			`tierwall_agent_endpoints 2`,
			`tierwall_agent_classes 2`,
			`tierwall_agent_sets 1`,
			`tierwall_agent_set_members 1`,
			`tierwall_agent_rules 1`,
			`tierwall_dropped_packets_total{direction="ingress",policy="GlobalNetworkPolicy/db",rule="end-of-tier",tier="default"} 3`,
			`tierwall_rule_packets_total{action="Allow",audit="false",direction="ingress",policy="GlobalNetworkPolicy/db",rule="0",tier="default"} 7`,
			`tierwall_rule_packets_total{action="Deny",audit="true",direction="ingress",policy="GlobalNetworkPolicy/db",rule="end-of-tier",tier="default"} 5`,
			`tierwall_rule_bytes_total{action="Deny",audit="false",direction="ingress",policy="GlobalNetworkPolicy/db",rule="end-of-tier",tier="default"} 180`,
		} {
			Expect(body).To(ContainSubstring(line + "\n"))
		}
		Expect(strings.Count(body, "tierwall_dropped_packets_total{")).To(Equal(1))
		for _, path := range []string{"/readyz", "/healthz"} {
			code, body = get(h, path)
			Expect(code).To(Equal(http.StatusOK))
			Expect(body).To(Equal("ok\n"))
		}

		By("a backend without counters")
		r.backend.SetCounters(nil, errors.New("no nft"))
		code, body = get(h, "/metrics")
		Expect(code).To(Equal(http.StatusOK))
		Expect(body).To(ContainSubstring("tierwall_agent_endpoints 2\n"))
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("counters"))).To(Equal(1.0))
	})

	It("keep the sizes through any change", func() {
		r := settled(nil)
		sizes := func() []float64 {
			m := r.metrics
			return []float64{testutil.ToFloat64(m.endpoints), testutil.ToFloat64(m.classes), testutil.ToFloat64(m.sets), testutil.ToFloat64(m.members), testutil.ToFloat64(m.rules), testutil.ToFloat64(m.programs)}
		}
		before := sizes()
		more := objects(join(pod("web2", "10.0.0.3"), pod("p1", "10.0.0.11"), allowTo("p1", "p1", 80), allowTo("p2", "p1", 81)))
		r.to.Update(more, nil)
		r.next()
		Eventually(sizes).Should(HaveExactElements(4.0, 3.0, 1.0, 1.0, 3.0, BeNumerically(">", before[5])))
		r.to.Update([]runtime.Object{}, []model.Ref{
			ref("Pod/shop/web2"), ref("Pod/shop/p1"), ref("GlobalNetworkPolicy/p1"), ref("GlobalNetworkPolicy/p2"),
		})
		r.next()
		Eventually(sizes).Should(Equal(before))
	})

	It("tell of a transaction that hangs", func() {
		gate, busy := make(chan struct{}), make(chan struct{})
		r := newRig(nil)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			close(busy)
			<-gate
			return nil
		}
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		Eventually(busy).Should(BeClosed())
		r.clock.Step(time.Minute)
		Expect(r.Healthy()).To(Succeed())
		r.clock.Step(2 * time.Minute)
		Expect(r.Healthy()).To(MatchError(ContainSubstring("takes 3m0s already")))
		close(gate)
		Eventually(r.Healthy).Should(Succeed())
	})
})
