package tiers

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/tiers"
	"github.com/tierwall/tierwall/test/integration/env"
)

// manage runs controllers/tiers, as the manager would, until the returned function
// is called or the spec ends.
func manage() (stop func()) {
	GinkgoHelper()
	skip := true
	mgr, err := ctrl.NewManager(server.Admin(), ctrl.Options{
		Scheme:     env.Scheme(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &skip},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(tiers.Add(mgr, tiers.Options{Settle: time.Millisecond})).To(Succeed())
	run, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- mgr.Start(run) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			Eventually(done).Should(Receive(BeNil()))
		}
	}
	DeferCleanup(stop)
	return stop
}

var _ = Describe("the deletion of a tier", func() {
	get := func(name string) (*v1alpha1.Tier, error) {
		var t v1alpha1.Tier
		return &t, admin.Get(ctx(), client.ObjectKey{Name: name}, &t)
	}
	gone := func(name string) func() bool {
		return func() bool { _, err := get(name); return apierrors.IsNotFound(err) }
	}
	condition := func(name string) func() string {
		return func() string {
			t, err := get(name)
			if err != nil {
				return err.Error()
			}
			c := meta.FindStatusCondition(t.Status.Conditions, tiers.Deleting)
			if c == nil {
				return ""
			}
			return fmt.Sprint(c.Status, " ", c.Reason, ": ", c.Message)
		}
	}
	// tier makes a tier and waits until it is held.
	tier := func(name string) *v1alpha1.Tier {
		GinkgoHelper()
		t := made(&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}})
		Eventually(func() []string { t, _ := get(name); return t.Finalizers }).Should(ConsistOf(tiers.Finalizer))
		return t
	}

	It("is done at once if no policy is in it", func() {
		manage()
		Expect(admin.Delete(ctx(), tier("empty"))).To(Succeed())
		Eventually(gone("empty")).Should(BeTrue())
	})

	It("waits for the policies in it, and names them", func() {
		manage()
		t := tier("crowded")
		web := made(local("shop", "web", "crowded"))
		edge := made(global("edge", "crowded"))
		made(global("elsewhere", "security"))
		Expect(admin.Delete(ctx(), t)).To(Succeed())
		Eventually(condition("crowded")).Should(Equal("True PoliciesRemain: waits for 2 policies to be deleted or moved to another tier: " +
			"GlobalNetworkPolicy/edge, NetworkPolicy.tierwall.io/shop/web"))
		Eventually(func(g Gomega) {
			var list eventsv1.EventList
			g.Expect(admin.List(ctx(), &list)).To(Succeed())
			g.Expect(list.Items).To(ContainElement(And(
				HaveField("Regarding.Name", "crowded"), HaveField("Type", "Warning"), HaveField("Reason", tiers.PoliciesRemain),
				HaveField("Note", ContainSubstring("GlobalNetworkPolicy/edge")),
			)))
		}).Should(Succeed())

		By("deleting one")
		Expect(admin.Delete(ctx(), edge)).To(Succeed())
		Eventually(condition("crowded")).Should(ContainSubstring("waits for 1 policy to be deleted or moved to another tier: NetworkPolicy.tierwall.io/shop/web"))

		By("moving the other")
		Expect(admin.Patch(ctx(), web, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"tier":"default"}}`)))).To(Succeed())
		Eventually(gone("crowded")).Should(BeTrue())
	})

	It("goes on after an absence of the manager", func() {
		stop := manage()
		t := tier("patient")
		p := made(global("last", "patient"))
		stop()
		Expect(admin.Delete(ctx(), t)).To(Succeed())
		Expect(gone("patient")()).To(BeFalse())
		Expect(admin.Delete(ctx(), p)).To(Succeed())
		Expect(gone("patient")()).To(BeFalse())
		manage()
		Eventually(gone("patient")).Should(BeTrue())
	})

	It("names ten policies of a thousand", func() {
		manage()
		t := tier("huge")
		for i := range 1000 {
			Expect(admin.Create(ctx(), global(fmt.Sprintf("huge-%04d", i), "huge"))).To(Succeed())
		}
		Expect(admin.Delete(ctx(), t)).To(Succeed())
		Eventually(condition("huge")).Should(And(
			ContainSubstring("waits for 1000 policies"),
			ContainSubstring(": GlobalNetworkPolicy/huge-0000, GlobalNetworkPolicy/huge-0001, "),
			HaveSuffix(", GlobalNetworkPolicy/huge-0009 and 990 more"),
		))
		Expect(admin.DeleteAllOf(ctx(), &v1alpha1.GlobalNetworkPolicy{}, client.MatchingFields{"spec.tier": "huge"})).To(Succeed())
		Eventually(gone("huge")).Should(BeTrue())
	})

	It("leaves the built-in tiers without a finalizer", func() {
		manage()
		tier("marker") // by now the controller has seen all tiers
		for _, b := range builtIn() {
			t, err := get(b.Name)
			Expect(err).NotTo(HaveOccurred())
			Expect(t.Finalizers).To(BeEmpty(), b.Name)
		}
	})
})
