package operator

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/controllers/scrape"
)

// ownAddress is an address of this machine that is not loopback.
func ownAddress() netip.Addr {
	GinkgoHelper()
	list, err := net.InterfaceAddrs()
	Expect(err).NotTo(HaveOccurred())
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr()
		}
	}
	Fail("this machine has no address but loopback")
	return netip.Addr{}
}

// tokenOf makes a ServiceAccount of namespace monitoring and returns a token of it.
func tokenOf(name string) string {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}}
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx(), ns))).To(Succeed())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: name}}
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx(), account))).To(Succeed())
	request := &authenticationv1.TokenRequest{}
	Expect(admin.SubResource("token").Create(ctx(), account, request)).To(Succeed())
	return request.Status.Token
}

var _ = Describe("Metrics", func() {
	BeforeEach(fresh)

	It("are for users with the role of the example, by the rights of agents and manager", func() {
		Expect(server.Apply(ctx(), "config/rbac/examples/prometheus.yaml")).To(Succeed())
		for _, o := range operator.Desired(&v1alpha1.Tierwall{}, operator.Settings{}) {
			switch o.GetObjectKind().GroupVersionKind().Kind {
			case "ClusterRole", "ClusterRoleBinding":
				Expect(admin.Create(ctx(), o)).To(Succeed())
			}
		}
		good, other := tokenOf("prometheus"), tokenOf("other")
		browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		for name, config := range map[string]*rest.Config{
			"manager": managerUser(),
			"agent":   server.As("system:serviceaccount:"+namespace+":"+operator.AgentName, "system:serviceaccounts", "system:serviceaccounts:"+namespace),
		} {
			registry := prometheus.NewRegistry()
			s, err := scrape.New(scrape.Options{Address: "0.0.0.0:0", Gatherer: registry, Config: config})
			Expect(err).NotTo(HaveOccurred())
			registry.MustRegister(s)
			run, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- s.Start(run) }()
			DeferCleanup(func() {
				cancel()
				Eventually(ended).Should(Receive(BeNil()))
			})
			port := netip.MustParseAddrPort(s.Addr().String()).Port()
			get := func(token string) int {
				GinkgoHelper()
				request, err := http.NewRequest(http.MethodGet, "https://"+netip.AddrPortFrom(ownAddress(), port).String()+"/metrics", nil)
				Expect(err).NotTo(HaveOccurred())
				if token != "" {
					request.Header.Set("Authorization", "Bearer "+token)
				}
				answer, err := browser.Do(request)
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Body.Close()).To(Succeed())
				return answer.StatusCode
			}
			Expect(get("")).To(Equal(http.StatusUnauthorized), name)
			Expect(get("made-up")).To(Equal(http.StatusUnauthorized), name)
			Expect(get(other)).To(Equal(http.StatusForbidden), name)
			// RBAC takes a moment to hear of a role.
			Eventually(get).WithArguments(tokenOf("prometheus")).Should(Equal(http.StatusOK), name)
			Expect(get(good)).To(Equal(http.StatusOK), name)
		}
	})
})
