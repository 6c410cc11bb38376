package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

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
		a.kernel.failures = 3
		Expect(a.kernel.backoff()).To(Equal(400 * time.Millisecond))
		jitter = 0.5
		Expect(a.kernel.backoff()).To(Equal(300 * time.Millisecond))
		jitter, a.kernel.failures = 0, 5000
		Expect(a.kernel.backoff()).To(Equal(30 * time.Second))
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
				if _, rest, found := strings.Cut(line, "object held back: the kernel rejects it object="); found {
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

	// What the kernel has no room for fails as what passes by itself does.
	for _, cause := range []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EINTR} {
		It("is found too if it fails as a shortage does: "+cause.Error(), func() {
			r := newRig(nil)
			tries := 0
			r.backend.Before = func(_ fake.Op, s *dataplane.State) error {
				tries++
				if refuses(s, poisoned...) != nil {
					return fmt.Errorf("nft: %w", cause)
				}
				return nil
			}
			r.run()
			r.to.Update(objects(many()), nil)
			r.to.Synced()
			settle(r)
			Expect(held(r)).To(ConsistOf("GlobalNetworkPolicy/p3", "GlobalNetworkPolicy/p11"))
			Expect(tries).To(BeNumerically("<", 40))
		})
	}

	It("is not blamed for a shortage that ends while it is looked for", func() {
		r := newRig(nil)
		short := 7
		r.backend.Before = func(_ fake.Op, s *dataplane.State) error {
			if short > 0 && refuses(s, poisoned...) != nil {
				short--
				return fmt.Errorf("nft: %w", syscall.ENOMEM)
			}
			return nil
		}
		r.run()
		r.to.Update(objects(many()), nil)
		r.to.Synced()
		settle(r)
		Expect(held(r)).To(BeEmpty())
	})

	It("is not looked for when the agent may not write", func() {
		r := newRig(nil)
		denied := 12
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			if denied--; denied >= 0 {
				return fmt.Errorf("nft: %w", syscall.EPERM)
			}
			return nil
		}
		r.run()
		r.to.Update(objects(many()), nil)
		r.to.Synced()
		settle(r)
		Expect(held(r)).To(BeEmpty())
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("sync"))).To(Equal(12.0))
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
