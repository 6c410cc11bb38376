package status

import (
	"errors"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/status"
	"github.com/tierwall/tierwall/policy/model"
)

var _ = Describe("The status of a policy", func() {
	It("is unknown as long as no agent reports", func() {
		p := globalPolicy("nobody-reports", nil)
		Eventually(line(p)).Should(Equal("True/Accepted Unknown/NoAgents - g1"))
	})

	It("counts the nodes that enforce it, and follows its generations", func() {
		nodes := threeNodes()
		p := globalPolicy("counts", nil)
		Eventually(line(p)).Should(Equal("True/Accepted Unknown/Pending 0/0 g1"))
		Eventually(line(p)).Should(Equal("True/Accepted True/NoEndpoints 0/0 g1"))
		enforces(p, nodes...)
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g1"))

		By("a new generation, which one node has not enforced yet")
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(p), p)).To(Succeed())
		p.Spec.Selector = "app == 'x'"
		Expect(admin.Update(ctx(), p)).To(Succeed())
		Eventually(line(p)).Should(Equal("True/Accepted Unknown/Pending 0/3 g2"))
		enforces(p, nodes[0], nodes[1])
		Eventually(line(p)).Should(Equal("True/Accepted Unknown/Pending 2/3 g2"))
		// Agents report at most so often: the node is named once it should have spoken.
		Eventually(func() string {
			_ = line(p)()
			return meta.FindStatusCondition(p.Status.Conditions, status.Enforced).Message
		}).Should(ContainSubstring(nodes[2].name))
		enforces(p, nodes[2])
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g2"))

		By("a node with no endpoint for it any more")
		delete(nodes[0].enforced, refOf(p))
		nodes[0].say()
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 2/2 g2"))

		By("a node that is removed, and its report by the garbage collector later")
		Expect(admin.Delete(ctx(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodes[1].name}})).To(Succeed())
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 1/1 g2"))
		Expect(admin.Delete(ctx(), &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: nodes[1].name}})).To(Succeed())
		Consistently(line(p)).Should(Equal("True/Accepted True/Enforced 1/1 g2"))
		Expect(events(p)()).To(BeEmpty())
	})

	It("names nodes that fail, with why, and makes one event of it however often it comes and goes", func() {
		nodes := threeNodes()
		p := globalPolicy("fails", nil)
		enforces(p, nodes[1], nodes[2])
		fail := func() {
			delete(nodes[0].enforced, refOf(p))
			nodes[0].failed = []agent.Failure{{Ref: refOf(p), Generation: p.Generation, Err: errors.New("the set is too large"), Instead: "deny everything that it governs"}}
			nodes[0].say()
		}
		fail()
		Eventually(line(p)).Should(Equal("True/Accepted False/NodesFailed 2/3 g1"))
		Expect(p.Status.Nodes.FailedNodes).To(Equal([]string{nodes[0].name}))
		Expect(p.Status.Nodes.Failed).To(Equal(int32(1)))
		Expect(meta.FindStatusCondition(p.Status.Conditions, status.Enforced).Message).To(
			And(ContainSubstring("Failed on 1 of 3 nodes: "+nodes[0].name), ContainSubstring("deny everything that it governs"), ContainSubstring("the set is too large")))
		Eventually(events(p)).Should(ConsistOf(HavePrefix("NodesFailed: Failed on 1 of 3 nodes")))
		enforces(p, nodes[0])
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g1"))
		fail()
		Eventually(line(p)).Should(Equal("True/Accepted False/NodesFailed 2/3 g1"))
		Consistently(events(p)).Should(HaveLen(1))
	})

	It("has an event in its place for a native policy that fails", func() {
		nodes := threeNodes()
		p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "native", Namespace: "default"}}
		Expect(admin.Create(ctx(), p)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), p)).To(Succeed()) })
		nodes[0].failed = []agent.Failure{{
			Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "default", Name: "native"}, Generation: 1, Err: errors.New("too large"),
		}}
		nodes[0].say()
		Eventually(events(p)).Should(ConsistOf("NodesFailed: Failed on 1 node: " + nodes[0].name + ". On " + nodes[0].name + ": too large"))
	})

	It("says down to the field what is not accepted, at once, and an event says it too", func() {
		nodes := threeNodes()
		p := globalPolicy("invalid", func(s *v1alpha1.GlobalNetworkPolicySpec) {
			s.Ingress[0].Source.Selector = "app =="
		})
		Eventually(line(p)).Should(HavePrefix("False/Invalid "))
		c := meta.FindStatusCondition(p.Status.Conditions, status.Accepted)
		Expect(c.Message).To(HavePrefix("spec.ingress[0].source.selector: "))
		Eventually(events(p)).Should(ConsistOf(HavePrefix("NotAccepted: spec.ingress[0].source.selector: ")))
		enforces(p, nodes...)
		Eventually(line(p)).Should(Equal("False/Invalid False/NotAccepted 3/3 g1"))

		p.Spec.Ingress[0].Source.Selector = "app == 'x'"
		Expect(admin.Update(ctx(), p)).To(Succeed())
		enforces(p, nodes...)
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g2"))
		Expect(events(p)()).To(HaveLen(1))
	})

	It("follows the policy's tier", func() {
		p := globalPolicy("tier", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "later" })
		Eventually(line(p)).Should(HavePrefix("False/UnknownTier "))
		tier := &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "later"}}
		Expect(admin.Create(ctx(), tier)).To(Succeed())
		Eventually(line(p)).Should(HavePrefix("True/Accepted "))
		Expect(admin.Delete(ctx(), tier)).To(Succeed())
		Eventually(line(p)).Should(HavePrefix("False/UnknownTier "))
	})

	It("is kept for namespaced policies, and says that audited ones are not applied", func() {
		nodes := threeNodes()
		p := &v1alpha1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "audited", Namespace: "default"}}
		p.Spec.Enforcement = v1alpha1.Audit
		Expect(admin.Create(ctx(), p)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), p)).To(Succeed()) })
		enforces(p, nodes[0])
		Eventually(line(p)).Should(Equal("True/Accepted False/Audit 1/1 g1"))
	})

	It("is put right if somebody writes into it", func() {
		nodes := threeNodes()
		p := globalPolicy("forged", nil)
		enforces(p, nodes...)
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g1"))
		p.Status.Nodes.Ready = "99/99"
		Expect(admin.Status().Update(ctx(), p)).To(Succeed())
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g1"))
	})

	It("does not count on agents that are silent", func() {
		nodes := threeNodes()
		p := globalPolicy("silent", nil)
		enforces(p, nodes...)
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g1"))
		// An agent that promised to be back within a second.
		old := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: "quiet"}}
		old.Report = v1alpha1.NodeState{
			RenewTime: metav1.Now(), LeaseSeconds: 1, InSync: true, Policies: map[string]int64{refOf(p).String(): p.Generation},
		}
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "quiet"}}
		Expect(admin.Create(ctx(), n)).To(Succeed())
		Expect(admin.Create(ctx(), old)).To(Succeed())
		DeferCleanup(func() {
			Expect(admin.Delete(ctx(), old)).To(Succeed())
			Expect(admin.Delete(ctx(), n)).To(Succeed())
		})
		Eventually(line(p)).Should(Equal("True/Accepted Unknown/AgentsSilent 3/4 g1"))
		Expect(meta.FindStatusCondition(p.Status.Conditions, status.Enforced).Message).To(ContainSubstring("silent: quiet"))
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(old), old)).To(Succeed())
		old.Report.RenewTime, old.Report.LeaseSeconds = metav1.Now(), 600
		Expect(admin.Update(ctx(), old)).To(Succeed())
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 4/4 g1"))
	})
})

var _ = Describe("A hundred nodes", func() {
	// The numbers are those of docs/status.md.
	It("cost the API server one report each and two writes of status for a change of a policy", func() {
		const count = 100
		c := agents()
		var nodes []*node
		for i := range count {
			n := newNode(fmt.Sprintf("hundred-%03d", i), count, c)
			nodes = append(nodes, n)
			n.say()
		}
		reports := func() int {
			var list v1alpha1.NodeReportList
			Expect(admin.List(ctx(), &list)).To(Succeed())
			return len(list.Items)
		}
		Eventually(reports).Should(Equal(count))
		a, m := agentWrites.now(), managerWrites.now()
		Consistently(func() map[string]int { return agentWrites.since(a) }, "6s").Should(BeEmpty()) // until the window of the first reports is over

		By("creating a policy that selects endpoints everywhere")
		p := globalPolicy("hundred", nil)
		enforces(p, nodes...)
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 100/100 g1"))
		Consistently(line(p)).Should(Equal("True/Accepted True/Enforced 100/100 g1"))
		Expect(agentWrites.since(a)).To(Equal(map[string]int{"nodereports": count}))
		Expect(managerWrites.since(m)).To(HaveKeyWithValue("status of policies", BeNumerically("<=", 3)))
		GinkgoWriter.Println("create:", agentWrites.since(a), managerWrites.since(m))

		By("changing it twenty times in a row")
		a, m = agentWrites.now(), managerWrites.now()
		for i := range 20 {
			before := p.DeepCopy()
			p.Spec.Order = new(float64(i))
			Expect(admin.Patch(ctx(), p, client.MergeFrom(before))).To(Succeed())
			enforces(p, nodes...)
		}
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 100/100 g21"))
		Consistently(line(p)).Should(Equal("True/Accepted True/Enforced 100/100 g21"))
		GinkgoWriter.Println("twenty changes:", agentWrites.since(a), managerWrites.since(m))
		Expect(agentWrites.since(a)["nodereports"]).To(BeNumerically("<=", 2*count))
		Expect(managerWrites.since(m)["status of policies"]).To(BeNumerically("<=", 20+4))

		By("pods that come and go all the time, of no interest to any policy")
		a, m = agentWrites.now(), managerWrites.now()
		for range 50 {
			for _, n := range nodes {
				n.version-- // say raises it: nothing has changed in what is enforced
				n.say()
			}
		}
		Consistently(func() map[string]int { return agentWrites.since(a) }).Should(BeEmpty())
		Expect(managerWrites.since(m)).To(BeEmpty())
	})
})
