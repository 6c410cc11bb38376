package agent

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

// native is a policy of namespace shop, created in a minute of 2026, that lets so many
// addresses in to pods of an app, at a port.
func native(name, app string, minute, addrs, port int) string {
	var from []string
	for i := range addrs {
		from = append(from, fmt.Sprintf("{ipBlock: {cidr: 198.51.%d.%d/32}}", i>>8, i&255))
	}
	return fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: %s, namespace: shop, creationTimestamp: "2026-01-01T00:%02d:00Z", generation: %d}
spec:
  podSelector: {matchLabels: {app: %s}}
  ingress: [{from: [%s], ports: [{port: %d}]}]
`, name, minute, port, app, strings.Join(from, ", "), port)
}

// budgetOf is Tierwall/default with a budget for namespaces.
func budgetOf(mode string, entries int) string {
	return fmt.Sprintf("{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {budgets: {mode: %q, namespace: %d}}}", mode, entries)
}

// programsOf are the programs of a pod of a World.
func programsOf(w fake.World, app string) (out string) {
	for _, id := range w.Endpoints[ref("Pod/shop/"+app)].Programs {
		out += w.Programs[id]
	}
	return out
}

// statuses is a StatusReporter that a test can ask.
type statuses struct{ list chan *Status }

func (s *statuses) Report(r *Status) { s.list <- r }

// last is the status that follows a transaction.
func (s *statuses) last() (r *Status) {
	GinkgoHelper()
	Eventually(s.list).Should(Receive(&r))
	for {
		select {
		case r = <-s.list:
		case <-time.After(20 * time.Millisecond):
			return r
		}
	}
}

func failed(s *Status) (out []string) {
	for _, f := range s.Failed {
		out = append(out, fmt.Sprintf("%s@%d: %s", f.Ref, f.Generation, f.Instead))
	}
	return out
}

var _ = Describe("a namespace past its budget", func() {
	reported := func(objs ...string) (*rig, *statuses) {
		s := &statuses{make(chan *Status, 1000)}
		r := newRig(func(o *Options) { o.Reporter = s }).run()
		r.to.Update(objects(join(append([]string{world, pod("web", "10.0.0.1"), pod("db", "10.0.0.2"), budgetOf("Enforce", 100)}, objs...)...)), nil)
		r.to.Synced()
		Expect(r.next().Err).NotTo(HaveOccurred())
		return r, s
	}
	update := func(r *rig, manifests string) fake.World {
		GinkgoHelper()
		r.to.Update(objects(manifests), nil)
		Expect(r.Settled(GinkgoT().Context(), "")).To(Succeed())
		for len(r.backend.Done) > 0 {
			<-r.backend.Done
		}
		return r.backend.World()
	}

	It("has its youngest policies deny, at a start; others' changes go on, and removing objects heals it", func() {
		r, s := reported(native("old", "web", 1, 60, 8001), native("young", "db", 2, 60, 8002))
		w := r.backend.World()
		Expect(programsOf(w, "web")).To(ContainSubstring("8001"))
		Expect(programsOf(w, "db")).To(And(ContainSubstring("NetworkPolicy/shop/young"), Not(ContainSubstring("8002"))))
		st := s.last()
		Expect(failed(st)).To(ConsistOf("NetworkPolicy/shop/young@8002: deny everything that it governs"))
		Expect(st.Failed[0].PastBudget).To(Equal(v1alpha1.PastBudgetDenyAll))
		Expect(st.Failed[0].Err).To(MatchError("past the budget: the policies and NetworkSets of namespace shop have 126 entries, more than its budget of 100"))
		Expect(st.Enforced).To(And(HaveKey(ref("NetworkPolicy/shop/old")), Not(HaveKey(ref("NetworkPolicy/shop/young")))))
		Expect(testutil.ToFloat64(r.metrics.pastBudget)).To(Equal(1.0))
		Expect(testutil.ToFloat64(r.metrics.entries.WithLabelValues("shop"))).To(Equal(126.0))

		w = update(r, allowTo("db", "db", 5432))
		Expect(w.Endpoints).To(HaveLen(2))

		r.to.Update(nil, []model.Ref{ref("NetworkPolicy/shop/old")})
		w = r.next().World
		Expect(programsOf(w, "db")).To(ContainSubstring("8002"))
		st = s.last()
		Expect(st.Failed).To(BeEmpty())
		Expect(st.Enforced).To(HaveKeyWithValue(ref("NetworkPolicy/shop/young"), int64(8002)))
		Expect(testutil.ToFloat64(r.metrics.pastBudget)).To(Equal(0.0))
	})

	It("reads the rules of a policy that is past it alone once there is room", func() {
		for _, form := range []string{
			native("large", "web", 1, 300, 8001),
			`
apiVersion: tierwall.io/v1alpha1
kind: NetworkPolicy
metadata: {name: large, namespace: shop, generation: 8001}
spec: {selector: app == 'web', ingress: [` + strings.Repeat("{action: Allow, protocol: TCP, destination: {ports: [8001]}},", 150) + `]}
`,
		} {
			r, s := reported(form)
			Expect(programsOf(r.backend.World(), "web")).To(And(ContainSubstring("shop/large"), Not(ContainSubstring("8001"))))
			st := s.last()
			Expect(st.Failed).To(HaveLen(1))
			Expect(st.Failed[0].Err).To(MatchError(ContainSubstring("have 30")))

			By("a larger budget")
			Expect(programsOf(update(r, budgetOf("Enforce", 1000)), "web")).To(ContainSubstring("8001"))
			Expect(s.last().Failed).To(BeEmpty())
			By("a smaller one: what is in force is more than another budget")
			Expect(programsOf(update(r, budgetOf("Enforce", 100)), "web")).NotTo(ContainSubstring("8001"))
			By("none")
			Expect(programsOf(update(r, budgetOf("Off", 100)), "web")).To(ContainSubstring("8001"))
			By("one that only counts, before a new version")
			update(r, budgetOf("Enforce", 100))
			Expect(programsOf(update(r, strings.ReplaceAll(form, "8001", "8002")), "web")).NotTo(ContainSubstring("8002"))
			Expect(programsOf(update(r, budgetOf("Count", 100)), "web")).To(ContainSubstring("8002"))
			By("its end")
			ref := st.Failed[0].Ref
			r.to.Update(nil, []model.Ref{ref})
			Expect(r.Settled(GinkgoT().Context(), "")).To(Succeed())
			Expect(programsOf(r.backend.World(), "web")).NotTo(ContainSubstring("shop/large"))
		}
	})

	It("keeps the form of a policy that is in force where a new version is past it", func() {
		r, s := reported(native("old", "web", 1, 60, 8001), native("young", "db", 2, 20, 8002))
		s.last()
		r.to.Update(objects(join(native("young", "db", 2, 90, 8003), pod("new", "10.0.0.3"))), nil)
		w := r.next().World
		Expect(programsOf(w, "db")).To(And(ContainSubstring("8002"), Not(ContainSubstring("8003"))))
		st := s.last()
		Expect(failed(st)).To(ConsistOf("NetworkPolicy/shop/young@8003: its previous version"))
		Expect(st.Failed[0].PastBudget).To(Equal(v1alpha1.PastBudgetPrevious))
		Expect(st.Enforced).NotTo(HaveKeyWithValue(ref("NetworkPolicy/shop/young"), int64(8003)))

		By("a version that governs other pods: these are denied")
		w = update(r, native("young", "new", 2, 90, 8004))
		Expect(programsOf(w, "db")).To(And(ContainSubstring("8002"), Not(ContainSubstring(":past-budget"))))
		Expect(programsOf(w, "new")).To(And(ContainSubstring(":past-budget"), Not(ContainSubstring("8004"))))
		st = s.last()
		Expect(failed(st)).To(ConsistOf("NetworkPolicy/shop/young@8004: its previous version, and deny what that does not govern"))
		Expect(st.Failed[0].PastBudget).To(Equal(v1alpha1.PastBudgetNarrowed))
		for ref := range st.Enforced {
			Expect(ref.Name).NotTo(ContainSubstring(":past-budget"))
		}

		By("a version that fits")
		w = update(r, native("young", "new", 2, 10, 8005))
		Expect(programsOf(w, "db")).NotTo(ContainSubstring("8002"))
		Expect(programsOf(w, "new")).To(And(ContainSubstring("8005"), Not(ContainSubstring(":past-budget"))))
		Expect(s.last().Failed).To(BeEmpty())
	})

	It("has no younger policy lose what is in force to an older one that grows", func() {
		r, s := reported(native("old", "web", 1, 20, 8001), native("young", "db", 2, 60, 8002))
		s.last()
		w := update(r, native("old", "web", 1, 90, 8003))
		Expect(programsOf(w, "web")).To(ContainSubstring("8003"))
		Expect(programsOf(w, "db")).To(ContainSubstring("8002"))
		st := s.last()
		Expect(failed(st)).To(ConsistOf("NetworkPolicy/shop/young@8002: the same, until the agent restarts: then deny everything that it governs"))
		Expect(st.Failed[0].PastBudget).To(Equal(v1alpha1.PastBudgetCurrent))
	})

	It("keeps out no policy of an earlier tier", func() {
		r, s := reported(native("fill", "web", 1, 90, 8001))
		s.last()
		w := update(r, join("{apiVersion: tierwall.io/v1alpha1, kind: Tier, metadata: {name: security}, spec: {order: 10}}", `
apiVersion: tierwall.io/v1alpha1
kind: NetworkPolicy
metadata: {name: denied, namespace: shop, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  tier: security
  selector: app == 'db'
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [7000, 7001, 7002, 7003, 7004, 7005, 7006]}}, {action: Pass}]
`))
		Expect(programsOf(w, "db")).To(ContainSubstring("dport 7000-7006 drop"))
		Expect(failed(s.last())).To(ConsistOf("NetworkPolicy/shop/fill@8001: the same, until the agent restarts: then deny everything that it governs"))
	})

	It("keeps no more than another budget in force beside it", func() {
		r, _ := reported(native("a", "web", 1, 90, 8001))
		for i, name := range []string{"b", "c", "d"} {
			// Each grows while the older ones are small, and these grow afterwards.
			update(r, join(native(name, "db", 2+i, 90, 8002+i), native("a", "web", 1, 1, 8100+i)))
			update(r, native("a", "web", 1, 90, 8200+i))
		}
		kept := 0
		for _, p := range r.ix.Policies() {
			kept += p.Entries
		}
		Expect(kept).To(BeNumerically("<=", 2*100+10))
	})

	It("has policies past it that govern the same stand for each other", func() {
		objs := []string{}
		for i := range 50 {
			objs = append(objs, native(fmt.Sprintf("p%02d", i), "db", i, 60, 8000+i))
		}
		r, s := reported(objs...)
		Expect(len(r.ix.Policies())).To(BeNumerically("<=", 3))
		st := s.last()
		Expect(st.Failed).To(HaveLen(49))
		r.to.Update(nil, []model.Ref{ref("NetworkPolicy/shop/p01")}) // the one that stands for all
		Expect(programsOf(r.next().World, "db")).To(ContainSubstring("NetworkPolicy/shop/p02"))
		Expect(s.last().Failed).To(HaveLen(48))
	})

	It("is only counted in mode Count, and not at all in mode Off", func() {
		r, s := reported(native("old", "web", 1, 60, 8001), native("young", "db", 2, 60, 8002))
		w := update(r, budgetOf("Count", 100))
		Expect(programsOf(w, "db")).To(ContainSubstring("8002"))
		st := s.last()
		Expect(st.Failed).To(BeEmpty())
		Expect(st.Enforced).To(HaveKey(ref("NetworkPolicy/shop/young")))
		Expect(testutil.ToFloat64(r.metrics.pastBudget)).To(Equal(1.0))
		update(r, budgetOf("Off", 100))
		Expect(testutil.ToFloat64(r.metrics.pastBudget)).To(Equal(0.0))

		By("and again, where what is in force stays")
		w = update(r, budgetOf("Enforce", 100))
		Expect(programsOf(w, "db")).To(ContainSubstring("8002"))
	})

	It("costs a global policy nothing that its sets and pods swell", func() {
		set := func(n int) string {
			var nets []string
			for i := range n {
				nets = append(nets, fmt.Sprintf("203.0.%d.%d", i>>8, i&255))
			}
			return "{apiVersion: tierwall.io/v1alpha1, kind: NetworkSet, metadata: {name: peers, namespace: shop, labels: {set: peers}}, spec: {nets: [" + strings.Join(nets, ", ") + "]}}"
		}
		global := `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: global}
spec:
  selector: all()
  ingress: [{action: Allow, protocol: TCP, source: {selector: set == 'peers', namespaceSelector: all()}, destination: {ports: [9000]}}]
`
		r, s := reported(global, set(3))
		s.last()
		members := func(w fake.World) (n int) {
			for _, m := range w.Sets {
				n += len(m)
			}
			return n
		}
		Expect(members(r.backend.World())).To(Equal(3))
		r.to.Update(objects(join(set(500), pod("new", "10.0.0.3"))), nil)
		w := r.next().World
		Expect(members(w)).To(Equal(500))
		Expect(programsOf(w, "new")).To(ContainSubstring("9000"))
		st := s.last()
		Expect(append(st.Failed, st.Held...)).To(BeEmpty())

		By("a set that is larger than the budget, which a rule that denies may rest on: the namespace's policies pay")
		w = update(r, native("late", "web", 1, 5, 8001))
		Expect(members(w)).To(Equal(500))
		Expect(programsOf(w, "web")).To(And(ContainSubstring("9000"), ContainSubstring("NetworkPolicy/shop/late"), Not(ContainSubstring("8001"))))
		Expect(failed(s.last())).To(ConsistOf("NetworkPolicy/shop/late@8001: deny everything that it governs"))
	})
})

var _ = Describe("the node's budget", func() {
	// Each pod has labels of its own, and two policies of ten entries select all pods.
	labelled := func(ns, name string, i int) string {
		return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, labels: {app: %s, all: "yes"}}
spec: {nodeName: node, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.0.0.%d, podIPs: [{ip: 10.0.0.%d}]}
`, name, ns, name, i, i)
	}
	policies := func(ns string, pods int) string {
		var out []string
		for i := range pods {
			p := native(fmt.Sprintf("p%d", i), fmt.Sprintf("w%d", i), 1, 8, 8000+i)
			out = append(out, strings.ReplaceAll(p, "namespace: shop", "namespace: "+ns))
		}
		return join(out...)
	}
	tierwall := func(mode string, node int) string {
		return fmt.Sprintf("{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {budgets: {mode: %q, node: %d}}}", mode, node)
	}
	evil := func(n int) []string {
		out := []string{"{apiVersion: v1, kind: Namespace, metadata: {name: evil}}", policies("evil", 6)}
		for i := range n {
			out = append(out, labelled("evil", fmt.Sprint("w", i), 100+i))
		}
		return out
	}
	denied := func(w fake.World) (out []string) {
		for r := range w.Endpoints {
			if pod, ok := r.GhostOf(); ok {
				out = append(out, pod.Name)
			}
		}
		return out
	}

	It("has the new pods of a namespace past its share denied, and nobody else's", func() {
		s := &statuses{make(chan *Status, 1000)}
		r := newRig(func(o *Options) { o.Reporter = s }).run()
		r.to.Update(objects(join(append(evil(2), small, tierwall("Enforce", 40), native("theirs", "db", 1, 5, 9000))...)), nil)
		r.to.Synced()
		Expect(denied(r.next().World)).To(BeEmpty())
		By("more pods than fit: 11 entries a group, and 8 of the other namespace's")
		r.to.Update(objects(join(evil(6)...)), nil)
		w := r.next().World
		Expect(denied(w)).To(ConsistOf("w2", "w3", "w4", "w5"))
		Expect(w.Endpoints).To(And(HaveKey(ref("Pod/evil/w0")), HaveKey(ref("Pod/evil/w1")), Not(HaveKey(ref("Pod/evil/w2"))), HaveKey(ref("Pod/shop/db"))))
		st := s.last()
		Expect(st.Held).To(HaveLen(4))
		Expect(st.Held[0].Ref).To(Equal(ref("Pod/evil/w2")))
		Expect(st.Held[0].Err).To(MatchError(ContainSubstring("past the node's budget: the policies of namespace evil have 66 entries on the node")))

		By("another namespace's change")
		r.to.Update(objects(join(native("theirs", "db", 1, 6, 9001), pod("new", "10.0.0.9"))), nil)
		w = r.next().World
		Expect(programsOf(w, "db")).To(ContainSubstring("9001"))
		Expect(w.Endpoints).To(HaveKey(ref("Pod/shop/new")))
		Expect(denied(w)).To(ConsistOf("w2", "w3", "w4", "w5"))

		By("a change of a pod that is denied")
		r.to.Update(objects(strings.Replace(labelled("evil", "w2", 102), "all: ", "more: x, all: ", 1)), nil)
		r.to.Update(nil, []model.Ref{ref("Pod/evil/w0")})
		Eventually(func() []string { return denied(r.backend.World()) }).Should(ConsistOf("w3", "w4", "w5"))

		By("removing a policy of them heals the pod that it governs")
		r.to.Update(nil, []model.Ref{ref("NetworkPolicy/evil/p3")})
		Eventually(func() []string { return denied(r.backend.World()) }).Should(ConsistOf("w4", "w5"))

		By("Count, and Off")
		r.to.Update(objects(tierwall("Count", 40)), nil)
		Eventually(func() []string { return denied(r.backend.World()) }).Should(BeEmpty())
		r.to.Update(objects(tierwall("Enforce", 40)), nil)
		r.to.Update(objects(tierwall("Off", 1)), nil)
		Expect(r.Settled(GinkgoT().Context(), "")).To(Succeed())
		Expect(denied(r.backend.World())).To(BeEmpty())
	})

	It("has no new pod take the place of one that is in force", func() {
		r := newRig(nil).run()
		r.to.Update(objects(join(append(evil(3), small, tierwall("Enforce", 35))...)), nil)
		r.to.Synced()
		Expect(denied(r.next().World)).To(BeEmpty())
		r.to.Update(objects(join(labelled("evil", "a-new", 90), strings.ReplaceAll(native("young", "a-new", 2, 8, 9009), "namespace: shop", "namespace: evil"))), nil)
		Expect(denied(r.next().World)).To(ConsistOf("a-new"))
	})

	It("comes to the same after a restart", func() {
		var before []string
		for range 2 {
			r := newRig(nil).run()
			r.to.Update(objects(join(append(evil(6), small, tierwall("Enforce", 40))...)), nil)
			r.to.Synced()
			now := denied(r.next().World)
			Expect(now).To(HaveLen(3))
			if before != nil {
				Expect(now).To(ConsistOf(before))
			}
			before = now
		}
	})
})

var _ = Describe("a namespace that writes much at once", func() {
	It("keeps no address that another pod has by now", func() {
		gate := make(chan struct{})
		r := newRig(nil)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			<-gate
			return nil
		}
		r.run()
		r.to.Update(objects(join(small, "{apiVersion: v1, kind: Namespace, metadata: {name: good}}", pod("old", "10.0.0.7"))), nil)
		r.to.Synced()
		for i := range 30 {
			r.to.Update(objects(native(fmt.Sprintf("p%d", i), "db", i, 500, 8000+i)), nil)
		}
		r.to.Update(objects(pod("old", "10.0.0.8")), nil)
		r.to.Update(objects(strings.ReplaceAll(pod("heir", "10.0.0.7"), "namespace: shop", "namespace: good")), nil)
		close(gate)
		Expect(r.next().World.Endpoints).To(HaveKey(ref("Pod/shop/old")))
		w := r.next().World
		for w.Endpoints[ref("Pod/good/heir")].Addrs == nil {
			w = r.next().World
		}
		Expect(w.Endpoints).NotTo(HaveKey(ref("Pod/shop/old")), "it waits with its new address, and has lost the old one")
		Expect(r.Settled(GinkgoT().Context(), "")).To(Succeed())
		Expect(r.backend.World().Endpoints[ref("Pod/shop/old")].Addrs).To(HaveExactElements(HaveField("String()", "10.0.0.8")))
	})

	It("holds up no other's change for longer than a round of its own", func() {
		gate := make(chan struct{})
		r := newRig(nil)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			<-gate
			return nil
		}
		r.run()
		r.to.Update(objects(join(small, `
apiVersion: v1
kind: Namespace
metadata: {name: good}
`, strings.ReplaceAll(pod("front", "10.0.0.9"), "namespace: shop", "namespace: good"))), nil)
		r.to.Synced()
		for i := range 200 {
			r.to.Update([]runtime.Object{objects(native(fmt.Sprintf("p%d", i), "db", i%60, 500, 8000+i))[0]}, nil)
		}
		r.to.Update(objects(strings.ReplaceAll(native("theirs", "front", 1, 1, 9000), "namespace: shop", "namespace: good")), nil)
		close(gate)
		r.next()
		rounds := 0
		for {
			rounds++
			w := r.next().World
			out := ""
			for _, id := range w.Endpoints[ref("Pod/good/front")].Programs {
				out += w.Programs[id]
			}
			if strings.Contains(out, "9000") {
				break
			}
		}
		Expect(rounds).To(BeNumerically("<=", 2))
		Expect(r.Settled(GinkgoT().Context(), "good")).To(Succeed())
		waiting, _ := r.progress.holds(r.queue.delivered(), []string{"shop"})
		Expect(waiting).To(BeFalse())
		Expect(r.Settled(GinkgoT().Context(), "")).To(Succeed())
		n := 0
		for _, p := range r.ix.Policies() {
			if p.Ref.Namespace == "shop" {
				n += p.Entries
			}
		}
		Expect(n).To(BeNumerically("<=", 2*model.DefaultNamespaceBudget))
	})
})
