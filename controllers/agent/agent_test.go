package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/dataplane"
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
		Eventually(func() int { r.queue.mu.Lock(); defer r.queue.mu.Unlock(); return len(r.queue.backlogs) }).Should(BeZero())
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

	It("keeps a local pod's address for it when a pod of another node claims it, and reports the clash", func() {
		rec := &recorder{}
		clashes := func() string { return rec.last().Clashes }
		r := settled(func(o *Options) { o.Reporter = rec })
		r.to.Update(objects(strings.Replace(pod("aaa", "10.0.0.1"), "nodeName: node", "nodeName: other", 1)), nil)
		r.to.Update(objects(pod("new", "10.0.0.3")), nil)
		r.next()
		Eventually(clashes).Should(Equal("Pod/shop/aaa of another node claims address 10.0.0.1 of local Pod/shop/web, which keeps it"))
		who, node := r.Holder(netip.MustParseAddr("10.0.0.1"))
		Expect(who).To(Equal(ref("Pod/shop/web")))
		Expect(node).To(Equal("node"))
		r.to.Update(objects(pod("newer", "10.0.0.4")), []model.Ref{ref("Pod/shop/aaa")})
		r.next()
		Eventually(clashes).Should(BeEmpty())
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
