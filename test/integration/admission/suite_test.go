package admission

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
	"github.com/tierwall/tierwall/test/goroutines"
	"github.com/tierwall/tierwall/test/integration/env"
)

func TestAdmission(t *testing.T) {
	goroutines.MustEnd(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "admission")
}

const namespace = "tierwall-system"

var (
	server *env.Env
	admin  client.Client
	heard  = &warnings{}
)

var _ = BeforeSuite(func() {
	log.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	var err error
	server, err = env.Start(env.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(server.Stop()).To(Succeed()) })
	c := server.Admin()
	c.WarningHandler = heard
	admin, err = server.Client(c)
	Expect(err).NotTo(HaveOccurred())
	for _, name := range []string{namespace, "shop"} {
		Expect(admin.Create(ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	Expect(server.Apply(ctx(), "config/rbac/serviceaccount.yaml", "config/rbac/clusterrole.yaml", "config/rbac/role.yaml")).To(Succeed())
	Expect(admin.Create(ctx(), &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "front"}})).To(Succeed())
})

// ctx of a request.
func ctx() context.Context { return context.Background() }

// warnings remembers what the API server has said beside its answers.
type warnings struct {
	mu   sync.Mutex
	list []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
}

// take returns the warnings since the last call.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.list = nil }()
	return slices.Clone(w.list)
}

var _ rest.WarningHandler = (*warnings)(nil)

// replica is a running manager with the webhook.
type replica struct {
	port int
	// Stop ends it, once.
	stop func()
}

// manage runs a manager as the user that it is in a cluster, until it is stopped
// or the spec ends.
func manage(o admission.Options, add ...func(ctrl.Manager) error) replica {
	GinkgoHelper()
	skip := true
	account := server.As("system:serviceaccount:" + namespace + ":tierwall-manager")
	mgr, err := ctrl.NewManager(account, ctrl.Options{
		Scheme:     env.Scheme(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &skip},
	})
	Expect(err).NotTo(HaveOccurred())
	o.Host, o.ServerName = "127.0.0.1", "localhost"
	if o.Port == 0 {
		o.Port = freePort()
	}
	if o.Period == 0 {
		o.Period = 20 * time.Millisecond
	}
	Expect(admission.Add(mgr, o)).To(Succeed())
	for _, a := range add {
		Expect(a(mgr)).To(Succeed())
	}
	run, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(run) }()
	r := replica{port: o.Port, stop: sync.OnceFunc(func() {
		cancel()
		Eventually(done).Should(Receive(BeNil()))
	})}
	DeferCleanup(r.stop)
	return r
}

func freePort() int {
	GinkgoHelper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	defer func() { Expect(l.Close()).To(Succeed()) }()
	_, text, err := net.SplitHostPort(l.Addr().String())
	Expect(err).NotTo(HaveOccurred())
	port, err := strconv.Atoi(text)
	Expect(err).NotTo(HaveOccurred())
	return port
}

// webhookAt makes the webhook's configuration as config/webhook has it, but for
// an address in place of the Service, which no network here leads to.
func webhookAt(port int) {
	GinkgoHelper()
	objects, err := env.Read(server.Root() + "/config/webhook/webhook.yaml")
	Expect(err).NotTo(HaveOccurred())
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	for _, o := range objects {
		if o.GetKind() == "ValidatingWebhookConfiguration" {
			Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, c)).To(Succeed())
		}
	}
	url := "https://localhost:" + strconv.Itoa(port) + admission.Path
	for i := range c.Webhooks {
		c.Webhooks[i].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url}
	}
	Expect(admin.Create(ctx(), c)).To(Succeed())
	DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(ctx(), c))).To(Succeed()) })
}

// configuration is the webhook's.
func configuration() *admissionregistrationv1.ValidatingWebhookConfiguration {
	GinkgoHelper()
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	Expect(admin.Get(ctx(), client.ObjectKey{Name: admission.WebhookName}, c)).To(Succeed())
	return c
}

// answers waits until the API server asks the webhook and trusts it.
func answers() {
	GinkgoHelper()
	Eventually(func() error {
		return admin.Create(ctx(), global("probe", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "(" }), client.DryRunAll)
	}).Should(MatchError(ContainSubstring("validation.tierwall.io")))
	heard.take()
}

// global is a policy of tier front.
func global(name string, change func(*v1alpha1.GlobalNetworkPolicySpec)) *v1alpha1.GlobalNetworkPolicy {
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Tier = "front"
	if change != nil {
		change(&p.Spec)
	}
	return p
}

// made creates an object as the administrator and removes it after the spec.
func made[T client.Object](o T) T {
	GinkgoHelper()
	Expect(admin.Create(ctx(), o)).To(Succeed())
	DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(ctx(), o))).To(Succeed()) })
	return o
}
