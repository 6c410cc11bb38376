package operator

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/install"
)

// sink keeps what an agent would be told.
type sink struct {
	mu     sync.Mutex
	synced bool
	kinds  map[model.Kind]bool
	errs   []error
}

var _ agent.Sink = (*sink)(nil)

func (s *sink) Update(upserts []runtime.Object, _ []model.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range upserts {
		if ref, ok := convert.RefOf(o); ok {
			s.kinds[ref.Kind] = true
		}
	}
}

func (s *sink) Synced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced = true
}

func (s *sink) Report(errs ...error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = errs
}

// problem is why not all is well; nil: it is in sync, and knows a kind.
func (s *sink) problem(kind model.Kind) func() error {
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch err := errors.Join(s.errs...); {
		case err != nil:
			return err
		case !s.synced:
			return errors.New("not in sync")
		case !s.kinds[kind]:
			return errors.New("no " + string(kind) + " yet")
		}
		return nil
	}
}

// agentUser is an agent on a node, with the permissions that the operator gives it.
func agentUser(node string) *rest.Config {
	c := server.As("system:serviceaccount:"+namespace+":"+operator.AgentName, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	c.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}}
	return c
}

var _ = Describe("The permissions that the operator gives the agents", func() {
	BeforeEach(fresh)

	It("are enough to read all that agents read, and to report", func() {
		crds, err := install.Render("config/calico")
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error { return apply(crds...) }).Should(Succeed())
		Expect(server.InstallClusterNetworkPolicyCRD()).To(Succeed())
		start(operator.Options{})
		allInstalled()

		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n0"}}
		Expect(admin.Create(ctx(), node)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), node)).To(Succeed()) })

		// EndpointSlices are read only if a policy needs them.
		service := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "to-a-service"}}
		service.Spec.Types = []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress}
		service.Spec.Egress = []v1alpha1.Rule{{Action: v1alpha1.Allow}}
		service.Spec.Egress[0].Destination.Services = &v1alpha1.ServiceMatch{Name: "kubernetes", Namespace: "default"}
		Expect(admin.Create(ctx(), service)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), service)).To(Succeed()) })

		source, err := cluster.New(cluster.Options{Config: agentUser("n0"), Node: "n0", Log: slog.New(slog.NewTextHandler(GinkgoWriter, nil))})
		Expect(err).NotTo(HaveOccurred())
		told := &sink{kinds: map[model.Kind]bool{}}
		c, cancel := context.WithCancel(context.Background())
		over := make(chan error, 1)
		go func() { over <- source.Run(c, told) }()
		DeferCleanup(func() {
			cancel()
			Eventually(over).Should(Receive(BeNil()))
		})
		Eventually(told.problem(model.KindEndpointSlice)).Should(Succeed())

		own, err := server.Client(agentUser("n0"))
		Expect(err).NotTo(HaveOccurred())
		report := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{
			Name: "n0", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n0", UID: node.UID}},
		}}
		Expect(own.Create(ctx(), report)).To(Succeed())
		report.Report.AgentVersion = "v1"
		Expect(own.Update(ctx(), report)).To(Succeed())
		Expect(own.Delete(ctx(), report)).NotTo(Succeed())
		Expect(own.List(ctx(), &corev1.SecretList{})).To(MatchError(ContainSubstring("forbidden")))
		Expect(own.List(ctx(), &corev1.ConfigMapList{})).To(MatchError(ContainSubstring("forbidden")))
	})
})
