package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

// adversaries is the node of two tenants: one of namespace evil, who writes what costs a
// node most, and one of namespace good, who changes a policy.
const adversaries = "adversaries"

// notedSource is a Source that notes how many transactions there had been when a version
// of the other tenant's policy was delivered.
type notedSource struct {
	agent.Source
	commits *atomic.Int64

	mu                  sync.Mutex
	delivered, enforced map[int64]int64 // by generation
}

// Report implements agent.StatusReporter: it notes the same of when a version was enforced.
func (s *notedSource) Report(r *agent.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := r.Enforced[model.Ref{Kind: model.KindNetworkPolicy, Namespace: "good", Name: "web"}]
	if _, known := s.enforced[g]; g > 0 && !known {
		s.enforced[g] = s.commits.Load()
	}
}

// rounds is how many transactions there were from one to the other; -1: not yet enforced.
func (s *notedSource) rounds(generation int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.enforced[generation] == 0 {
		return -1
	}
	return int(s.enforced[generation] - s.delivered[generation])
}

// Run implements agent.Source.
func (s *notedSource) Run(ctx context.Context, to agent.Sink) error {
	return s.Source.Run(ctx, &notedSink{to, s})
}

type notedSink struct {
	agent.Sink
	s *notedSource
}

// Update implements agent.Sink.
func (n *notedSink) Update(upserts []runtime.Object, deletes []model.Ref) {
	for _, o := range upserts {
		if p, ok := o.(*networkingv1.NetworkPolicy); ok && p.Namespace == "good" {
			n.s.mu.Lock()
			n.s.delivered[p.Generation] = n.s.commits.Load()
			n.s.mu.Unlock()
		}
	}
	n.Sink.Update(upserts, deletes)
}

// evilBlocks is a native policy of so many rules, each of a block and a port of its own.
func evilBlocks(name string, rules int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: in("evil", name)}
	for r := range rules {
		port := intstr.FromInt32(int32(1 + r%60_000))
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{
			From:  []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("198.%d.%d.0/24", r>>8&255, r&255)}}},
			Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
		})
	}
	return p
}

// evilLarge is one native policy of half a megabyte as it is stored.
func evilLarge() *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: in("evil", "large")}
	var rule networkingv1.NetworkPolicyIngressRule
	for i := range 8000 {
		rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("198.%d.%d.0/24", i>>8&255, i&255)}})
	}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return p
}

// evilGrid is rules of a set each, and sets that overlap.
func evilGrid(n int) (out []client.Object) {
	p := &v1alpha1.NetworkPolicy{ObjectMeta: in("evil", "grid"), Spec: v1alpha1.NetworkPolicySpec{Types: []v1alpha1.PolicyType{"Ingress"}}}
	for i := range n {
		s := &v1alpha1.NetworkSet{ObjectMeta: in("evil", fmt.Sprint("set-", i))}
		s.Labels = map[string]string{"set": fmt.Sprint(i)}
		for a := range n {
			if (a*7+i*13)%5 < 2 {
				s.Spec.Nets = append(s.Spec.Nets, fmt.Sprintf("198.18.%d.%d", a>>8, a&255))
			}
		}
		tcp := intstr.FromString("TCP")
		p.Spec.Ingress = append(p.Spec.Ingress, v1alpha1.Rule{
			Action: v1alpha1.Allow, Protocol: &tcp, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("set == '%d'", i)},
			Destination: v1alpha1.EntityRule{Ports: []intstr.IntOrString{intstr.FromInt32(int32(1000 + i))}},
		})
		out = append(out, s)
	}
	return append(out, p)
}

var _ = Describe("Adversaries", Ordered, func() {
	BeforeAll(func() {
		withCRDs()
		namespace("evil")
		namespace("good")
		Expect(admin.Create(ctx(), &corev1.Node{ObjectMeta: named(adversaries)})).To(Succeed())
		pod("evil", "web", adversaries, "10.13.0.1", map[string]string{"app": "web"})
		pod("good", "web", adversaries, "10.13.0.2", map[string]string{"app": "web"})
		DeferCleanup(func() {
			for _, ns := range []string{"evil", "good"} {
				Expect(admin.DeleteAllOf(ctx(), &networkingv1.NetworkPolicy{}, client.InNamespace(ns))).To(Succeed())
				Expect(admin.DeleteAllOf(ctx(), &v1alpha1.NetworkPolicy{}, client.InNamespace(ns))).To(Succeed())
				Expect(admin.DeleteAllOf(ctx(), &v1alpha1.NetworkSet{}, client.InNamespace(ns))).To(Succeed())
				// Nothing takes a pod's address but the end of its object.
				Expect(admin.DeleteAllOf(ctx(), &corev1.Pod{}, client.InNamespace(ns), client.GracePeriodSeconds(0))).To(Succeed())
			}
		})
	})

	for _, world := range []struct {
		name    string
		objects func() []client.Object
	}{
		{"300 policies of 500 rules", func() (out []client.Object) {
			for i := range 300 {
				out = append(out, evilBlocks(fmt.Sprint("p", i), 500))
			}
			return out
		}},
		{"a policy of 8,000 blocks", func() []client.Object { return []client.Object{evilLarge()} }},
		{"200 rules over 200 sets that overlap", func() []client.Object { return evilGrid(200) }},
		{"200 pods of 50 labels", func() (out []client.Object) {
			for i := range 200 {
				p := &corev1.Pod{ObjectMeta: in("evil", fmt.Sprint("pod-", i)), Spec: corev1.PodSpec{NodeName: adversaries, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
				p.Labels = map[string]string{}
				for l := range 50 {
					p.Labels[fmt.Sprintf("l%d-%d", i, l)] = "x"
				}
				out = append(out, p)
			}
			return out
		}},
	} {
		It("hold up nobody else's change: "+world.name, func() {
			var commits atomic.Int64
			kernel := &fake.Backend{Before: func(fake.Op, *dataplane.State) error {
				commits.Add(1)
				return nil
			}}
			s, err := cluster.New(cluster.Options{Config: server.Admin(), Node: adversaries, Log: slog.New(slog.DiscardHandler)})
			Expect(err).NotTo(HaveOccurred())
			noted := &notedSource{Source: s, commits: &commits, delivered: map[int64]int64{}, enforced: map[int64]int64{}}
			a, err := agent.New(agent.Options{Node: adversaries, Source: noted, Backend: kernel, Reporter: noted})
			Expect(err).NotTo(HaveOccurred())
			c, cancel := context.WithCancel(context.Background())
			over := make(chan error, 1)
			go func() { over <- a.Run(c) }()
			DeferCleanup(func() {
				cancel()
				Eventually(over).Should(Receive(BeNil()))
			})
			Eventually(a.Ready).Should(Succeed())

			objects := world.objects()
			written := make(chan error, 1)
			go func() {
				written <- parallel(len(objects), func(i int) error { return admin.Create(ctx(), objects[i]) })
			}()
			mine := &networkingv1.NetworkPolicy{ObjectMeta: in("good", "web")}
			port := func(n int32) {
				p := intstr.FromInt32(n)
				mine.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &p}}}}
			}
			Expect(client.IgnoreNotFound(admin.Delete(ctx(), &networkingv1.NetworkPolicy{ObjectMeta: in("good", "web")}))).To(Succeed())
			port(8000)
			Expect(admin.Create(ctx(), mine)).To(Succeed())
			for n := range int32(20) {
				port(8001 + n)
				Expect(admin.Update(ctx(), mine)).To(Succeed())
				Eventually(noted.rounds).WithArguments(mine.Generation).ShouldNot(Equal(-1))
				// One may have been under way, and a slice of the other's goes first.
				Expect(noted.rounds(mine.Generation)).To(BeNumerically("<=", 3), "transactions until change %d was in the kernel", n)
			}
			Expect(<-written).To(Succeed())
			Expect(a.Settled(ctx(), "good")).To(Succeed())
			for _, o := range objects {
				Expect(client.IgnoreNotFound(admin.Delete(ctx(), o, client.GracePeriodSeconds(0)))).To(Succeed())
			}
		})
	}
})
