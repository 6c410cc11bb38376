package cluster

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
)

// parallel does n things, some at a time, and returns the first error.
func parallel(n int, do func(i int) error) error {
	const workers = 24
	next := make(chan int)
	errs := make(chan error, workers)
	for range workers {
		go func() {
			var first error
			for i := range next {
				if first == nil {
					first = do(i)
				}
			}
			errs <- first
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	var first error
	for range workers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

const (
	scaleNamespaces = 20
	scaleNodes      = 200
)

func scaleNamespace(i int) string { return fmt.Sprintf("scale-%d", i%scaleNamespaces) }

// scaleNode gives every node pods of all namespaces and applications.
func scaleNode(i int) string { return fmt.Sprintf("scale-node-%d", (i+i/scaleNodes)%scaleNodes) }

// scalePod is a pod such as a Deployment makes, with the things in it that an
// agent does not read.
func scalePod(i int, node string) *corev1.Pod {
	app := fmt.Sprintf("app-%d", i/scaleNamespaces%50)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: scaleNamespace(i), Name: fmt.Sprintf("%s-6b9c8f7d5-p%d", app, i),
			Labels: map[string]string{
				"app": app, "tier": []string{"web", "api", "db"}[i%3], "pod-template-hash": "6b9c8f7d5",
				"app.kubernetes.io/instance": app + "-" + scaleNamespace(i), "app.kubernetes.io/managed-by": "somebody",
			},
			Annotations: map[string]string{"checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
		},
		Spec: corev1.PodSpec{NodeName: node},
	}
	for _, name := range []string{"app", "sidecar"} {
		c := corev1.Container{
			Name: name, Image: "registry.example.com/team/" + name + ":1.2.3",
			Ports: []corev1.ContainerPort{{Name: name, ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		}
		for _, v := range []string{"DATABASE_URL", "CACHE_URL", "QUEUE_URL", "LOG_LEVEL", "REGION"} {
			c.Env = append(c.Env, corev1.EnvVar{Name: v, Value: "some value of " + v})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	p.Spec.Containers[1].Ports[0].ContainerPort = 9090
	return p
}

// startPod creates a pod and then gives it its address, as a kubelet does.
func startPod(c client.Client, p *corev1.Pod, ip string) error {
	if err := c.Create(ctx(), p); err != nil {
		return err
	}
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return c.Status().Update(ctx(), p)
}

func scaleIP(i int) string { return fmt.Sprintf("10.%d.%d.%d", 64+i>>16, i>>8&255, i&255) }

// scaleObjects creates the namespaces and nodes that the pods are in.
func scaleObjects(c client.Client) error {
	for i := range scaleNamespaces {
		if err := c.Create(ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: scaleNamespace(i), Labels: map[string]string{"group": fmt.Sprint(i % 4)}}}); err != nil {
			return err
		}
	}
	return parallel(scaleNodes, func(i int) error {
		block := fmt.Sprintf("10.200.%d.0/24", i)
		return c.Create(ctx(), &corev1.Node{
			ObjectMeta: named(fmt.Sprintf("scale-node-%d", i)), Spec: corev1.NodeSpec{PodCIDR: block, PodCIDRs: []string{block}},
		})
	})
}

// scalePolicy is a policy: of ten, six native ones, three global ones and one of
// a namespace, with peers by labels, namespaces, ports and blocks.
func scalePolicy(i int) client.Object {
	app, peer := fmt.Sprintf("app-%d", i%50), fmt.Sprintf("app-%d", (i+7)%50)
	name := fmt.Sprintf("policy-%d", i)
	port := intstr.FromInt32(int32(8000 + i%100))
	tcp := corev1.ProtocolTCP
	switch {
	case i%10 < 6:
		p := &networkingv1.NetworkPolicy{ObjectMeta: in(scaleNamespace(i), name)}
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": app}
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{
			{
				From: []networkingv1.NetworkPolicyPeer{
					{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": peer}}},
					{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"group": fmt.Sprint(i % 4)}}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "web"}}},
				},
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &port}},
			},
			{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("192.0.%d.0/24", i%256), Except: []string{fmt.Sprintf("192.0.%d.16/28", i%256)}}}}},
		}
		return p
	case i%10 < 9:
		p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: named(name)}
		p.Spec.Tier, p.Spec.Order = []string{"", "scale"}[i%2], new(float64(i))
		p.Spec.Selector, p.Spec.NamespaceSelector = fmt.Sprintf("app in {'%s', '%s'}", app, peer), fmt.Sprintf("group == '%d'", i%4)
		p.Spec.Types = []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress, v1alpha1.PolicyTypeEgress}
		p.Spec.Ingress = []v1alpha1.Rule{{Action: v1alpha1.Pass, Source: v1alpha1.EntityRule{Selector: "tier == 'api'"}}, {Action: v1alpha1.Deny, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("app == '%s'", peer)}}, {Action: v1alpha1.Pass}}
		p.Spec.Egress = []v1alpha1.Rule{{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Selector: "tier == 'db'"}}, {Action: v1alpha1.Pass}}
		return p
	default:
		p := &v1alpha1.NetworkPolicy{ObjectMeta: in(scaleNamespace(i), name)}
		p.Spec.Selector, p.Spec.Order = fmt.Sprintf("app == '%s'", app), new(float64(i))
		p.Spec.Ingress = []v1alpha1.Rule{{Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("app == '%s'", peer)}}}
		return p
	}
}

// counting is a kernel that costs nothing: it counts the changes and holds what
// the last Sync said.
type counting struct {
	fake.Backend
	mu      sync.Mutex
	applied int
	// seen is told the local endpoints that a change brought, and of each change of programs.
	seen func(ch *dataplane.Change)
}

func (c *counting) Apply(_ context.Context, ch *dataplane.Change, _ *dataplane.State) error {
	c.mu.Lock()
	c.applied++
	seen := c.seen
	c.mu.Unlock()
	if seen != nil {
		seen(ch)
	}
	return nil
}

// fromScratch is what a kernel of the node would hold by what the cluster says
// now, made in one go by the core.
func fromScratch(config *rest.Config, node string) fake.World {
	GinkgoHelper()
	live, err := manifests.FromCluster(ctx(), config)
	Expect(err).NotTo(HaveOccurred())
	ix := index.New(index.Options{Local: func(n string) bool { return n == node }})
	for _, o := range live.Objects {
		if obj, _, _ := convert.Object(o.Object); obj != nil {
			ix.Upsert(obj)
		}
	}
	comp := dataplane.NewCompiler(dataplane.Options{})
	comp.Apply(ix.Flush())
	var kernel fake.Backend
	Expect(kernel.Sync(ctx(), dataplane.NewState(ix, node, comp))).To(Succeed())
	return kernel.World()
}

// differences names what is not the same in two worlds.
func differences(have, want fake.World) (out []string) {
	note := func(same bool, format string, args ...any) {
		if !same {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	for r, e := range want.Endpoints {
		note(reflect.DeepEqual(have.Endpoints[r], e), "endpoint %s is %v, want %v", r, have.Endpoints[r], e)
	}
	for id, members := range want.Sets {
		note(slices.Equal(have.Sets[id], members), "set %s has %d members, want %d", id, len(have.Sets[id]), len(members))
	}
	for id, text := range want.Programs {
		note(have.Programs[id] == text, "program %s is %q, want %q", id, have.Programs[id], text)
	}
	note(len(have.Endpoints) == len(want.Endpoints), "%d endpoints, want %d", len(have.Endpoints), len(want.Endpoints))
	note(len(have.Sets) == len(want.Sets), "%d sets, want %d", len(have.Sets), len(want.Sets))
	note(len(have.Programs) == len(want.Programs), "%d programs, want %d", len(have.Programs), len(want.Programs))
	have.Endpoints, have.Sets, have.Programs = want.Endpoints, want.Sets, want.Programs
	note(reflect.DeepEqual(have, want), "node or settings: %+v, want %+v", have.Foreign, want.Foreign)
	return out
}

var _ = Describe("Scale", Ordered, func() {
	const pods, policies = 20_000, 1_000

	It("1,000 policies and 20,000 pods created at speed end in the effective policy that the core makes from scratch", func() {
		withCRDs()
		Expect(scaleObjects(admin)).To(Succeed())
		Expect(admin.Create(ctx(), &v1alpha1.Tier{ObjectMeta: named("scale"), Spec: v1alpha1.TierSpec{Order: new(float64(5))}})).To(Succeed())
		DeferCleanup(func() {
			for i := range scaleNamespaces {
				Expect(admin.DeleteAllOf(ctx(), &networkingv1.NetworkPolicy{}, client.InNamespace(scaleNamespace(i)))).To(Succeed())
			}
			withoutCRDs()
		})
		kernel := &counting{}
		a, _ := enforce(server.Admin(), scaleNode(0), kernel)
		Eventually(a.Ready).Should(Succeed())

		By("creating all of it, and changing some of it meanwhile")
		Expect(parallel(pods+policies, func(i int) error {
			if i%21 == 20 {
				return admin.Create(ctx(), scalePolicy(i/21))
			}
			i -= i / 21
			p := scalePod(i, scaleNode(i))
			if err := startPod(admin, p, scaleIP(i)); err != nil {
				return err
			}
			switch i % 20 {
			case 7:
				return admin.Delete(ctx(), p, client.GracePeriodSeconds(0))
			case 9:
				p.Labels["tier"] = "api"
				return admin.Update(ctx(), p)
			}
			return nil
		})).To(Succeed())
		Expect(parallel(100, func(i int) error {
			p := scalePolicy(i * 10)
			if i%2 == 0 {
				return admin.Delete(ctx(), p)
			}
			if err := admin.Get(ctx(), client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			if np, ok := p.(*networkingv1.NetworkPolicy); ok {
				np.Spec.Ingress = np.Spec.Ingress[:1]
			}
			return admin.Update(ctx(), p)
		})).To(Succeed())

		By("comparing")
		want := fromScratch(fast(server.Admin()), scaleNode(0))
		Expect(len(want.Endpoints)).To(BeNumerically(">", pods/scaleNodes*9/10))
		Expect(len(want.Programs)).To(BeNumerically(">", 50))
		Eventually(func(g Gomega) {
			a.Resync() // what it holds now
			g.Expect(differences(kernel.World(), want)).To(BeEmpty())
		}).WithPolling(500 * time.Millisecond).Should(Succeed())
		GinkgoWriter.Printf("transactions: %d\n", kernel.applied)

		By("comparing with an agent that comes later")
		late := &counting{}
		b, _ := enforce(server.Admin(), scaleNode(0), late)
		Eventually(b.Ready).Should(Succeed())
		Expect(differences(late.World(), want)).To(BeEmpty())

		By("reading it all by a command")
		kubeconfig := kubeconfigOf("scale", "system:masters")
		o := tierwall("tierwall", "", "effective", "--kubeconfig", kubeconfig, scaleNamespace(0)+"/"+scalePod(0, "").Name)
		Expect(o.status).To(Equal(0), o.err)
		Expect(o.out).To(ContainSubstring("scale"))
	})
})
