package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/adversaries"
)

// localPod is a running pod of the agent's node.
func localPod(namespace, name, addr string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: addr}}},
	}
}

// largeTenant are three pods of namespace evil with large policies, each another group,
// and a pod and a policy of namespace good.
func largeTenant() []runtime.Object {
	out := []runtime.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "evil"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "good"}},
		localPod("good", "web", "10.0.0.1"), policyOf("good", "web", 1, 1), policyOf("evil", "all", 1500, 1),
	}
	for i := range 3 {
		p := policyOf("evil", fmt.Sprint("p", i), 1, 1)
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": fmt.Sprint("e", i)}
		out = append(out, p, localPod("evil", fmt.Sprint("e", i), fmt.Sprintf("10.0.1.%d", i+1)))
	}
	return out
}

// changed are the pods whose programs differ between two Worlds.
func changed(before, after fake.World) (out []string) {
	for _, r := range slices.SortedFunc(maps.Keys(after.Endpoints), model.Ref.Compare) {
		if !slices.Equal(before.Endpoints[r].Programs, after.Endpoints[r].Programs) {
			out = append(out, r.Namespace+"/"+r.Name)
		}
	}
	return out
}

var _ = Describe("pods with large policies", func() {
	begin := func(boot *Boot) (*rig, *statuses, fake.Call) {
		s := &statuses{make(chan *Status, 1000)}
		r := newRig(func(o *Options) { o.Reporter, o.Boot = s, boot }).run()
		r.to.Update(largeTenant(), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.Err).NotTo(HaveOccurred())
		return r, s, c
	}
	everyone := `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: everyone, generation: %d}, spec: {order: %d, ingress: [{action: Allow, protocol: TCP, destination: {ports: [%d]}}]}}`
	policy := func(generation int) []runtime.Object {
		return objects(fmt.Sprintf(everyone, generation, 1, 80+generation))
	}

	It("have a change of a global policy one group after the other, behind others, and nothing is reported before all have it", func() {
		r, s, c := begin(nil)
		Expect(c.World.Endpoints).To(HaveLen(4))
		s.last()
		for generation := 1; generation < 4; generation++ {
			r.to.Update(policy(generation), nil)
			var groups []string
			for range 4 {
				before := c.World
				c = r.next()
				Expect(c.Op).To(Equal(fake.Apply))
				groups = append(groups, strings.Join(changed(before, c.World), " "))
			}
			Expect(groups[0]).To(Equal("good/web"))
			slices.Sort(groups)
			Expect(groups).To(Equal([]string{"evil/e0", "evil/e1", "evil/e2", "good/web"}))
			// Of all reports but the last one:
			var list []*Status
			Eventually(func() bool {
				select {
				case st := <-s.list:
					list = append(list, st)
				default:
				}
				return len(list) > 0 && list[len(list)-1].InSync
			}).Should(BeTrue())
			for _, st := range list[:len(list)-1] {
				Expect(st.Enforced[ref("GlobalNetworkPolicy/everyone")]).To(BeEquivalentTo(generation - 1))
			}
			Expect(list[len(list)-1].Enforced[ref("GlobalNetworkPolicy/everyone")]).To(BeEquivalentTo(generation))
			Expect(len(list)).To(BeNumerically(">", 1))
		}
	})

	It("are all part of the first transaction of an agent that replaces another, in however many pieces the source delivers them", func() {
		r := newRig(nil)
		r.queue.Update(largeTenant(), nil)
		r.transact(context.Background())
		r.queue.Update([]runtime.Object{localPod("evil", "e9", "10.0.1.9")}, nil)
		r.queue.Synced()
		r.transact(context.Background())
		c := r.next()
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.World.Endpoints).To(HaveLen(5))
		for r, e := range c.World.Endpoints {
			Expect(e.Programs).NotTo(BeEmpty(), r.String())
		}
	})

	It("are prepared by a backend that can, while others' changes go on, and done at once if that fails", func() {
		for _, fails := range []int{0, 1, 1000} {
			var b *preparer
			r := newRig(func(o *Options) {
				b = &preparer{Backend: o.Backend, fails: fails, steps: make(chan int, 10_000)}
				o.Backend = b
			}).run()
			r.to.Update(largeTenant(), nil)
			r.to.Synced()
			c := r.next()
			Expect(c.Err).NotTo(HaveOccurred())
			r.to.Update(policy(1), nil)
			var groups []string
			for n := 1; len(groups) < 4; n++ {
				Expect(n).To(BeNumerically("<", 40))
				before := c.World
				c, _ = r.nextAfter(10 * time.Millisecond)
				groups = append(groups, changed(before, c.World)...)
				if n == 2 {
					r.to.Update([]runtime.Object{policyOf("good", "web", 1, 2)}, nil)
				}
			}
			Expect(groups[0]).To(Equal("good/web"))
			slices.Sort(groups)
			Expect(groups).To(Equal([]string{"evil/e0", "evil/e1", "evil/e2", "good/web"}))
			Eventually(func() error {
				r.clock.Step(10 * time.Millisecond)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
				defer cancel()
				return r.Settled(ctx, "")
			}).Should(Succeed())
			if fails == 0 {
				Expect(len(b.steps)).To(BeNumerically(">=", 9))
			}
		}
	})

	It("hold up neither others nor the wait for others' pods", func() {
		r, _, c := begin(nil)
		let := make(chan struct{}, 100)
		r.backend.Before = func(fake.Op, *dataplane.State) error { <-let; return nil }
		let <- struct{}{}
		r.to.Update(policy(1), nil)
		before := c.World
		c = r.next() // of good/web, and now one of evil is under way
		Expect(changed(before, c.World)).To(Equal([]string{"good/web"}))
		r.to.Update([]runtime.Object{policyOf("good", "web", 2, 2)}, nil)
		good, evil := make(chan error, 1), make(chan error, 1)
		go func() { good <- r.Settled(context.Background(), "good") }()
		go func() { evil <- r.Settled(context.Background(), "evil") }()
		seen := 0
		for !slices.Contains(changed(before, c.World), "none") && seen < 3 {
			let <- struct{}{}
			before, c = c.World, r.next()
			seen++
			if slices.Contains(changed(before, c.World), "good/web") {
				break
			}
		}
		Expect(seen).To(BeNumerically("<=", 2), "the change of good waits")
		Eventually(good).Should(Receive(BeNil()))
		Consistently(evil, "50ms").ShouldNot(Receive())
		close(let)
		Eventually(evil).Should(Receive(BeNil()))
	})

	It("that are peers of many rules come a few at a time, and another tenant's change goes first", func() {
		var world adversaries.World
		for _, w := range adversaries.Corpus("node", 4) {
			if strings.HasPrefix(w.Name, "Pass through") {
				world = w
			}
		}
		r := newRig(nil).run()
		for _, o := range world.Owned {
			r.to.Update([]runtime.Object{o}, nil)
		}
		r.to.Update([]runtime.Object{
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "evil"}},
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "good"}}, localPod("good", "web", "10.0.0.1"), policyOf("good", "web", 1, 1),
		}, nil)
		for _, o := range world.Objects[:10] {
			r.to.Update([]runtime.Object{o}, nil)
		}
		r.to.Synced()
		c := r.next()
		reached, let := make(chan struct{}, 1000), make(chan struct{})
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			reached <- struct{}{}
			<-let
			r.clock.Step(roundTime)
			return nil
		}
		r.to.Update([]runtime.Object{policyOf("good", "web", 2, 2)}, nil)
		Eventually(reached).Should(Receive())
		for _, o := range world.Objects[10:] {
			r.to.Update([]runtime.Object{o}, nil)
		}
		r.to.Update([]runtime.Object{policyOf("good", "web", 3, 3)}, nil)
		close(let)
		r.next()
		most, pods := 0, len(c.World.Endpoints)
		for n := 1; len(c.World.Endpoints) < 1+len(world.Objects); n++ {
			Expect(n).To(BeNumerically("<", 300))
			before := c.World
			c = r.next()
			most, pods = max(most, len(c.World.Endpoints)-pods), len(c.World.Endpoints)
			if slices.Contains(changed(before, c.World), "good/web") {
				Expect(n).To(BeNumerically("<=", 2))
			}
		}
		Expect(most).To(BeNumerically("<=", 8))
	})

	It("are denied all at the start of a node until they have them, while others have theirs", func() {
		for _, holds := range []bool{false, true} {
			r, _, c := begin(&Boot{Store: at(GinkgoT().TempDir(), "boot"), Holds: func() bool { return holds }})
			have := func() (n int) {
				for ref, e := range c.World.Endpoints {
					if ref.Namespace == "evil" && len(e.Programs) > 0 {
						n++
					}
				}
				return n
			}
			Expect(c.World.Endpoints).To(HaveLen(4))
			Expect(c.World.Endpoints[ref("Pod/good/web")].Programs).NotTo(BeEmpty())
			if holds { // what another agent has left in the kernel is replaced at once
				Expect(have()).To(Equal(3))
				continue
			}
			Expect(have()).To(Equal(0))
			for n := 1; n <= 3; n++ {
				for range 5 { // the policies themselves are taken in slices
					c = r.next()
					if have() > 0 {
						break
					}
				}
				Expect(have()).To(Equal(n))
			}
			for i := range 3 {
				text := ""
				for _, id := range c.World.Endpoints[ref(fmt.Sprint("Pod/evil/e", i))].Programs {
					text += c.World.Programs[id]
				}
				Expect(text).To(ContainSubstring("NetworkPolicy/evil/all"))
			}
		}
	})
})

// preparer is a backend that prepares each group in three steps, and fails so often.
type preparer struct {
	dataplane.Backend
	fails int
	steps chan int
	of    *dataplane.Compiled
	step  int
}

func (b *preparer) Prepare(_ context.Context, ends []dataplane.Endpoint, _ *dataplane.State) (bool, error) {
	if len(ends) == 0 {
		b.of, b.step = nil, 0
		return true, nil
	}
	if b.of != ends[0].Policy {
		b.of, b.step = ends[0].Policy, 0
	}
	if b.fails > 0 {
		b.fails--
		b.of = nil
		return false, syscall.ENOMEM
	}
	b.step++
	b.steps <- b.step
	return b.step >= 3, nil
}

// beside is a backend whose counters can be read beside its work.
type beside struct {
	dataplane.Backend
	counts map[dataplane.Origin]dataplane.Count
}

func (b beside) ReadCounters(context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	return b.counts, nil
}

var _ = Describe("counters", func() {
	It("are read while a transaction is under way", func() {
		drop := dataplane.Origin{Tier: "default", Policy: ref("GlobalNetworkPolicy/db"), Rule: model.RuleEndOfTier, Action: model.Deny}
		r := settled(func(o *Options) {
			o.Backend = beside{o.Backend, map[dataplane.Origin]dataplane.Count{drop: {Packets: 3}}}
		})
		Eventually(r.Ready).Should(Succeed())
		reached, let := make(chan struct{}), make(chan struct{})
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			close(reached)
			<-let
			return nil
		}
		defer close(let)
		r.to.Update(objects(pod("web2", "10.0.0.3")), nil)
		Eventually(reached).Should(BeClosed())
		Expect(r.counters.read()).To(HaveKeyWithValue(drop, dataplane.Count{Packets: 3}))
	})
})

// The first round of an agent whose kernel is empty has all but large policies.
func TestStartRound(t *testing.T) {
	q := newQueue()
	q.Update(one(policyOf("", "g", 500, 1)), nil)
	q.Update(one(policyOf("evil", "p0", 60, 1)), nil)
	q.Update(one(podOf("evil", "web")), nil)
	q.Update([]runtime.Object{policyOf("evil", "p1", 60, 1), policyOf("evil", "p0", 61, 2)}, nil)
	q.Update(one(policyOf("good", "p", 60, 1)), nil)
	q.Update(one(podOf("good", "web")), nil)
	q.Synced()
	l := newLateness()
	r := q.takeStart(100)
	l.noteHolding(r, true)
	if got, want := r.names(), []string{"evil/web", "/g", "good/p", "good/web"}; !slices.Equal(got, want) {
		t.Errorf("the first round has %v, want %v", got, want)
	}
	q.Update(one(policyOf("evil", "p9", 60, 1)), nil)
	for _, want := range [][]string{{"evil/p0"}, {"evil/p1"}, {"evil/p0"}, {"evil/p9"}} {
		if !l.holds("evil") != (want[0] == "evil/p9") {
			t.Errorf("before %v evil is held: %v", want, l.holds("evil"))
		}
		r = q.take(100, terms{blocked: l.blocks})
		l.noteHolding(r, false)
		if got := r.names(); !slices.Equal(got, want) {
			t.Errorf("a round has %v, want %v", got, want)
		}
	}
	if len(q.backlogs) > 0 || l.holds("evil") {
		t.Errorf("left: %v, held: %v", q.backlogs, l.holding)
	}
}

// Nothing is taken of writers that are blocked, but what frees an address; and of
// large ones no change that bears on sets together with an older one of a policy.
func TestHeldBackRounds(t *testing.T) {
	q := newQueue()
	deliver := func(ns string) {
		q.Update(one(podOf(ns, "a")), nil)
		q.Update(one(policyOf(ns, "p", 9, 1)), nil)
		q.Update(one(podOf(ns, "b")), nil)
		q.Update(one(policyOf(ns, "q", 9, 1)), nil)
	}
	is := func(name string) func(string) bool { return func(s string) bool { return s == name } }
	large := func(ns string, _ int) bool { return ns == "large" }
	deliver("blocked")
	deliver("large")
	deliver("small")
	q.Update(nil, gone(model.KindPod, "blocked", "a"))
	var got [][]string
	for range 3 {
		r := q.take(1000, terms{blocked: is("blocked"), large: large})
		got = append(got, r.names())
		if r.whole("large") || r.whole("small") != (len(got) == 1) {
			t.Errorf("round %v: whole: large %v, small %v", r.names(), r.whole("large"), r.whole("small"))
		}
	}
	want := [][]string{
		{"-blocked/a", "large/a", "large/p", "small/a", "small/p", "small/b", "small/q"},
		{"large/b", "large/q"},
		nil,
	}
	if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("rounds %v, want %v", got, want)
	}
	if r := q.take(1000, terms{large: large}); !slices.Equal(r.names(), []string{"blocked/p", "blocked/b", "blocked/q"}) {
		t.Errorf("what was blocked: %v", r.names())
	}
}
