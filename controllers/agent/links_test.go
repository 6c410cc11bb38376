package agent

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/model"
)

// onBridge is a node with its pods on a bridge and an address that no object lists.
var onBridge = model.Links{
	Addrs: []model.LinkAddr{
		{Addr: netip.MustParseAddr("10.0.0.254"), Interface: "cni0"},
		{Addr: netip.MustParseAddr("192.0.2.1"), Interface: "eth0"},
	},
	Routes: []model.LinkRoute{{Net: netip.MustParsePrefix("10.0.0.0/24"), Interface: "cni0"}, {Net: netip.MustParsePrefix("0.0.0.0/0"), Interface: "eth0"}},
	Pods:   []model.PodLink{{Addr: netip.MustParseAddr("10.0.0.1"), Interface: "cni0", Port: "veth1"}, {Addr: netip.MustParseAddr("10.0.0.3"), Interface: "cni0", Port: "veth3"}},
}

// withLinks has an agent read these.
func withLinks(f *links.Fake) func(*Options) { return func(o *Options) { o.Links = f } }

func reads(f *links.Fake) func() int {
	return func() int { n, _ := f.Reads(); return n }
}

var _ = Describe("the node's links", func() {
	var kernel *links.Fake
	BeforeEach(func() {
		kernel = &links.Fake{}
		kernel.Set(onBridge)
	})

	It("are in the first transaction", func() {
		r := newRig(withLinks(kernel)).run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.World.Endpoints).To(HaveLen(2))
		Expect(c.World.Links.Node).To(Equal("node"))
		Expect(c.World.Links.Addrs).To(Equal(onBridge.Addrs))
		Expect(c.World.Links.Pods).To(Equal(onBridge.Pods[:1]))
		_, pods := kernel.Reads()
		Expect(pods).To(Equal(links.Pods{
			netip.MustParseAddr("10.0.0.1"): ref("Pod/shop/web"), netip.MustParseAddr("10.0.0.2"): ref("Pod/shop/db"),
		}))
		Expect(testutil.ToFloat64(r.metrics.ownAddresses)).To(Equal(2.0))
		Expect(testutil.ToFloat64(r.metrics.podLinks)).To(Equal(1.0))
	})

	It("are read again after a notice, and written if they differ, by a change", func() {
		r := settled(withLinks(kernel))
		Eventually(reads(kernel)).Should(BeNumerically(">=", 1))
		more := onBridge
		more.Addrs = append(slices.Clone(onBridge.Addrs), model.LinkAddr{Addr: netip.MustParseAddr("203.0.113.80"), Interface: "eth0"})
		kernel.Set(more)
		c, _ := r.nextAfter(20 * time.Millisecond)
		Expect(c.Op).To(Equal(fake.Apply))
		Expect(c.World.Links.Addrs).To(Equal(more.Addrs))
		more.Pods = onBridge.Pods[1:]
		kernel.Set(more)
		c, _ = r.nextAfter(20 * time.Millisecond)
		Expect(c.Op).To(Equal(fake.Apply))
		Expect(c.World.Links.Pods).To(BeEmpty())
		before := reads(kernel)()
		kernel.Notify()
		Eventually(func() int { r.clock.Step(20 * time.Millisecond); return reads(kernel)() }).Should(BeNumerically(">", before))
		Consistently(r.backend.Done, "20ms").ShouldNot(Receive())
	})

	It("are read for a new pod, whose interface may be known a little later", func() {
		r := settled(withLinks(kernel))
		r.to.Update(objects(pod("late", "10.0.0.9")), nil)
		Expect(r.next().World.Endpoints).To(HaveLen(3))
		more := onBridge
		more.Pods = append(slices.Clone(onBridge.Pods), model.PodLink{Addr: netip.MustParseAddr("10.0.0.9"), Interface: "cni0", Port: "veth9"})
		kernel.Set(more)
		c, took := r.nextAfter(20 * time.Millisecond)
		Expect(c.World.Links.Pods).To(HaveLen(2))
		Expect(took).To(BeNumerically("<", 5*time.Second))
	})

	It("are read now and then without a notice, and seldom where nothing happens", func() {
		r := settled(withLinks(kernel))
		Eventually(reads(kernel)).Should(BeNumerically(">=", 1))
		for range 20 {
			n := reads(kernel)()
			Eventually(func() int { r.clock.Step(time.Second); return reads(kernel)() }).Should(BeNumerically(">", n))
		}
		Eventually(func() bool { r.clock.Step(time.Millisecond); return r.clock.HasWaiters() }).Should(BeTrue())
		n := reads(kernel)()
		r.clock.Step(20 * time.Second)
		Consistently(reads(kernel), "20ms").Should(Equal(n))
	})

	It("may be unreadable: what was known counts, and it is reported", func() {
		reports := &recorder{}
		r := settled(func(o *Options) { o.Links, o.Reporter = kernel, reports })
		kernel.Fail(errors.New("no buffer space"))
		kernel.Notify()
		failures := func() float64 { return testutil.ToFloat64(r.metrics.errors.WithLabelValues("links")) }
		Eventually(func() float64 { r.clock.Step(20 * time.Millisecond); return failures() }).Should(BeNumerically(">=", 1))
		r.to.Update(objects(pod("new", "10.0.0.9")), nil)
		c, _ := r.nextAfter(20 * time.Millisecond)
		Expect(c.World.Links.Addrs).To(Equal(onBridge.Addrs))
		Eventually(func() error { return reports.last().LinksErr }).Should(MatchError("no buffer space"))
		Expect(reports.last().Links.Addrs).To(Equal(onBridge.Addrs))
		Expect(r.Ready()).To(Succeed())
		kernel.Fail(nil)
		Eventually(func() error {
			r.clock.Step(100 * time.Millisecond)
			return reports.last().LinksErr
		}).Should(Succeed())
	})

	It("may be unreadable at the start", func() {
		kernel.Fail(errors.New("no buffer space"))
		r := settled(withLinks(kernel))
		Expect(r.backend.World().Links).To(BeNil())
		kernel.Fail(nil)
		c, took := r.nextAfter(100 * time.Millisecond)
		Expect(c.World.Links.Addrs).To(Equal(onBridge.Addrs))
		Expect(took).To(BeNumerically("<=", 5*time.Second))
	})

	It("are read one at a time, however many notices come", func() {
		slow := &slowReader{Fake: kernel, gate: make(chan struct{})}
		r := newRig(func(o *Options) { o.Links = slow })
		slow.open.Store(true)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		slow.open.Store(false)
		kernel.Notify()
		Eventually(func() int32 { r.clock.Step(20 * time.Millisecond); return slow.busy.Load() }).Should(Equal(int32(1)))
		for range 50 {
			kernel.Notify()
		}
		r.to.Update(objects(pod("new", "10.0.0.9")), nil)
		Expect(r.next().World.Endpoints).To(HaveLen(3)) // it holds up no transaction
		Expect(slow.most.Load()).To(Equal(int32(1)))
		slow.open.Store(true)
		slow.gate <- struct{}{}
		Eventually(func() bool {
			r.clock.Step(20 * time.Millisecond)
			_, pods := kernel.Reads()
			return len(pods) == 3
		}).Should(BeTrue())
		Expect(slow.most.Load()).To(Equal(int32(1)))
	})

	It("tell which connections are the node's own: they outlive an unrelated change, and a restart", func() {
		allowed := conn("10.0.0.1:4000", "10.0.0.2:5432")
		own := conn("10.0.0.254:4000", "10.0.0.2:8080")   // from the bridge's address, which no object lists
		others := conn("10.0.0.99:4000", "10.0.0.2:8080") // nobody's
		r := newRig(withLinks(kernel))
		r.table.Add(own, others, allowed)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(others))
		r.to.Update(objects(allowTo("db", "db", 5433)), nil)
		r.next()
		Eventually(r.table.Deleted).Should(ConsistOf(others, allowed))
		Expect(r.table.Entries()).To(ConsistOf(own))
	})

	It("make blocks behind tunnels foreign, and other nodes' addresses", func() {
		tunnelled := onBridge
		tunnelled.Routes = append([]model.LinkRoute{{Net: netip.MustParsePrefix("10.0.0.64/26"), Interface: "vxlan.calico"}}, onBridge.Routes...)
		tunnelled.Tunnels = []model.Tunnel{{Interface: "vxlan.calico", Protocol: model.UDP, Port: 4789}}
		kernel.Set(tunnelled)
		other := `
apiVersion: v1
kind: Node
metadata: {name: other}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}, {type: ExternalIP, address: 10.0.0.77}]}
`
		r := newRig(withLinks(kernel)).run()
		r.to.Update(objects(join(small, other)), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.World.Foreign).To(Equal([]netip.Addr{netip.MustParseAddr("10.0.0.77")}))
		Expect(c.World.ClusterAddrs).To(Equal([]netip.Addr{netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("10.0.0.254"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}))
		Expect(c.World.ForeignNets).To(Equal([]netip.Prefix{netip.MustParsePrefix("10.0.0.64/26")}))
		r.to.Update(objects(strings.Replace(other, "10.0.0.77", "10.0.0.78", 1)), nil)
		Expect(r.next().World.Foreign).To(Equal([]netip.Addr{netip.MustParseAddr("10.0.0.78")}))
		r.to.Update(nil, []model.Ref{ref("Node/other")})
		c = r.next()
		Expect(c.World.Foreign).To(BeEmpty())
		Expect(c.World.ClusterAddrs).To(HaveLen(2))
	})
})

// slowReader is a Fake whose Read waits at a gate.
type slowReader struct {
	*links.Fake
	open       atomic.Bool
	gate       chan struct{}
	busy, most atomic.Int32
}

func (s *slowReader) Read(pods links.Pods) (*model.Links, error) {
	n := s.busy.Add(1)
	defer s.busy.Add(-1)
	s.most.Store(max(s.most.Load(), n))
	if !s.open.Load() {
		<-s.gate
	}
	return s.Fake.Read(pods)
}
