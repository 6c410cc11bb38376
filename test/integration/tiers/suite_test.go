package tiers

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/goroutines"
	"github.com/tierwall/tierwall/test/integration/env"
)

func TestTiers(t *testing.T) {
	goroutines.MustEnd(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "tiers")
}

var (
	server *env.Env
	admin  client.Client
)

var _ = BeforeSuite(func() {
	log.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	var err error
	server, err = env.Start(env.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(server.Stop()).To(Succeed()) })
	admin, err = server.Client(server.Admin())
	Expect(err).NotTo(HaveOccurred())

	Expect(server.Apply(ctx(),
		"config/admission/tier-ownership.yaml", "config/admission/built-in-tiers.yaml",
		"config/rbac/user-roles.yaml", "config/rbac/examples",
		"config/samples/10-tierwall/tiers.yaml",
	)).To(Succeed())
	for _, t := range builtIn() {
		Expect(admin.Create(ctx(), t)).To(Succeed())
	}
	for _, name := range []string{"shop", "payments"} {
		Expect(admin.Create(ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	makeRoles()
	awaitPolicies()
})

// awaitPolicies waits until the API server has taken up the admission policies,
// which takes it a second or so.
func awaitPolicies() {
	GinkgoHelper()
	kindOnly := as("kim")
	Eventually(func() error {
		return kindOnly.Create(ctx(), global("probe", "security"), client.DryRunAll)
	}).Should(MatchError(ContainSubstring("tiers/globalnetworkpolicies")))
	// The roles, too.
	for _, user := range []string{"max", "ron", "root2"} {
		Eventually(func() error { return as(user).Create(ctx(), global("probe", "security"), client.DryRunAll) }).Should(Succeed())
	}
	for user, namespace := range map[string]string{"ada": "shop", "pat": "payments"} {
		tier := map[string]string{"ada": "default", "pat": "security"}[user]
		Eventually(func() error { return as(user).Create(ctx(), local(namespace, "probe", tier), client.DryRunAll) }).Should(Succeed())
	}
	Eventually(func() error {
		return as("sid", "security-team").Create(ctx(), global("probe", "security"), client.DryRunAll)
	}).Should(Succeed())
	Eventually(func() error {
		return admin.Delete(ctx(), &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, client.DryRunAll)
	}).Should(MatchError(ContainSubstring("cannot be deleted")))
}

// builtIn are the built-in tiers as the operator makes them.
func builtIn() []*v1alpha1.Tier {
	tier := func(name string, order float64, action v1alpha1.Action) *v1alpha1.Tier {
		return &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TierSpec{Order: &order, DefaultAction: &action}}
	}
	return []*v1alpha1.Tier{
		tier("kube-admin", 1000, v1alpha1.Pass),
		tier("default", 1_000_000, v1alpha1.Deny),
		tier("kube-baseline", 10_000_000, v1alpha1.Pass),
	}
}

// as is a client of the user.
func as(user string, groups ...string) client.Client {
	GinkgoHelper()
	c, err := server.Client(server.As(user, groups...))
	Expect(err).NotTo(HaveOccurred())
	return c
}

// global is a policy of the tier; "" leaves the tier unset.
func global(name, tier string) *v1alpha1.GlobalNetworkPolicy {
	return &v1alpha1.GlobalNetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.GlobalNetworkPolicySpec{Tier: tier},
	}
}

// local is a policy of the tier in a namespace; "" leaves the tier unset.
func local(namespace, name, tier string) *v1alpha1.NetworkPolicy {
	return &v1alpha1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.NetworkPolicySpec{Tier: tier},
	}
}

// made creates an object as the administrator and removes it after the spec.
func made[T client.Object](o T) T {
	GinkgoHelper()
	Expect(admin.Create(ctx(), o)).To(Succeed())
	DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(ctx(), o))).To(Succeed()) })
	return o
}

// ctx of a request.
func ctx() context.Context { return context.Background() }
