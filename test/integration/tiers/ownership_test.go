package tiers

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// What can become of a request.
const (
	yes    = "allowed"
	noKind = "forbidden by RBAC on the policies"
	noTier = "forbidden by the tier's owner"
)

// outcome says what became of a request that ended in err.
func outcome(err error) string {
	switch {
	case err == nil:
		return yes
	case apierrors.IsForbidden(err) && apierrors.ReasonForError(err) == metav1.StatusReasonForbidden && isTier(err):
		return noTier
	case apierrors.IsForbidden(err):
		return noKind
	}
	return err.Error()
}

func isTier(err error) bool {
	ok, _ := ContainSubstring("ValidatingAdmissionPolicy 'tierwall-tier-ownership'").Match(err.Error())
	return ok
}

// refused matches the refusal of a verb in a tier, with what it takes to do it.
func refused(user, verb, tier, kind string) gomegatypes.GomegaMatcher {
	return And(
		WithTransform(outcome, Equal(noTier)),
		MatchError(ContainSubstring("user %q may not %s policies in tier %q", user, verb, tier)),
		MatchError(ContainSubstring("RBAC verb %s on resource tiers/%s of group tierwall.io with resourceName %s", verb, kind, tier)),
	)
}

var _ = Describe("tier ownership", func() {
	groups := map[string][]string{"sid": {"security-team"}, "root": {"system:masters"}}

	// The policies that updates and deletes are tried on, by tier.
	BeforeEach(func() {
		for _, tier := range []string{"security", "platform", "default"} {
			made(global("in-"+tier, tier))
			made(local("shop", "in-"+tier, tier))
			made(local("payments", "in-"+tier, tier))
		}
	})

	// Each of create, update, patch and delete, as a dry run, which is admitted as
	// the request itself is.
	try := func(user, namespace, tier string) map[string]string {
		c := as(user, groups[user]...)
		there, fresh := client.Object(global("in-"+tier, tier)), client.Object(global("new", tier))
		if namespace != "" {
			there, fresh = local(namespace, "in-"+tier, tier), local(namespace, "new", tier)
		}
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(there), there)).To(Succeed())
		there.SetLabels(map[string]string{"changed": "true"})
		merge := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"changed":"true"}}}`))
		return map[string]string{
			"create": outcome(c.Create(ctx(), fresh, client.DryRunAll)),
			"update": outcome(c.Update(ctx(), there, client.DryRunAll)),
			"patch":  outcome(c.Patch(ctx(), there, merge, client.DryRunAll)),
			"delete": outcome(c.Delete(ctx(), there, client.DryRunAll)),
		}
	}
	all := func(outcome string) map[string]string {
		return map[string]string{"create": outcome, "update": outcome, "patch": outcome, "delete": outcome}
	}

	DescribeTable("who may write which policy",
		func(user, namespace, tier string, want map[string]string) {
			Expect(try(user, namespace, tier)).To(Equal(want))
		},
		func(user, namespace, tier string, _ map[string]string) string {
			return fmt.Sprintf("%s in %q, tier %s", user, namespace, tier)
		},
		Entry(nil, "sid", "", "security", all(yes)),
		Entry(nil, "sid", "shop", "security", all(yes)),
		Entry(nil, "sid", "", "platform", all(noTier)),
		Entry(nil, "sid", "shop", "platform", all(noTier)),
		Entry(nil, "sid", "", "default", all(noTier)),
		Entry(nil, "sid", "shop", "default", all(noTier)),

		Entry(nil, "ada", "shop", "default", all(yes)),
		Entry(nil, "ada", "shop", "security", all(noTier)),
		Entry(nil, "ada", "payments", "default", all(noKind)),
		Entry(nil, "ada", "", "default", all(noKind)),

		Entry(nil, "eve", "shop", "default", all(noKind)),
		Entry(nil, "vic", "shop", "default", all(noKind)),
		Entry(nil, "vic", "", "default", all(noKind)),

		Entry(nil, "pat", "payments", "security", all(yes)),
		Entry(nil, "pat", "payments", "default", all(noTier)),
		Entry(nil, "pat", "shop", "security", all(noKind)),
		Entry(nil, "pat", "", "security", all(noKind)),

		Entry(nil, "kim", "", "security", all(noTier)),
		Entry(nil, "kim", "shop", "default", all(noTier)),
		Entry(nil, "tim", "", "security", all(noKind)),
		Entry(nil, "tim", "shop", "security", all(noKind)),
		Entry(nil, "max", "", "security", all(yes)),
		Entry(nil, "max", "shop", "platform", all(yes)),
		Entry(nil, "max", "shop", "default", all(noTier)),
		Entry(nil, "ron", "", "security", map[string]string{"create": yes, "update": noTier, "patch": noTier, "delete": yes}),
		Entry(nil, "ron", "shop", "security", map[string]string{"create": yes, "update": noTier, "patch": noTier, "delete": yes}),

		Entry(nil, "root2", "", "security", all(yes)),
		Entry(nil, "root2", "shop", "default", all(yes)),
		Entry(nil, "root", "", "security", all(yes)),
		Entry(nil, "root", "shop", "platform", all(yes)),
	)

	It("says who may not do what, and what it takes", func() {
		kim := as("kim")
		Expect(kim.Create(ctx(), global("new", "security"))).To(refused("kim", "create", "security", globals))
		err := kim.Create(ctx(), local("shop", "new", "platform"))
		Expect(err).To(refused("kim", "create", "platform", policies))
		Expect(err).To(MatchError(ContainSubstring(`in namespace "shop"`)))
		Expect(kim.Delete(ctx(), global("in-platform", ""))).To(refused("kim", "delete", "platform", globals))
	})

	It("takes a policy without a tier for one of tier default", func() {
		Expect(as("ada").Create(ctx(), local("shop", "new", ""), client.DryRunAll)).To(Succeed())
		Expect(as("sid", "security-team").Create(ctx(), local("shop", "new", ""), client.DryRunAll)).
			To(refused("sid", "create", "default", policies))
		Expect(as("sid", "security-team").Create(ctx(), global("new", ""), client.DryRunAll)).
			To(refused("sid", "create", "default", globals))
	})

	It("asks about a tier that does not exist too", func() {
		Expect(as("sid", "security-team").Create(ctx(), global("new", "secrity"), client.DryRunAll)).
			To(refused("sid", "create", "secrity", globals))
	})

	It("needs both tiers to move a policy from one to another", func() {
		move := func(c client.Client, from, to string) error {
			for _, o := range []client.Object{global("in-"+from, ""), local("shop", "in-"+from, "")} {
				patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"tier":%q}}`, to))
				if err := c.Patch(ctx(), o, patch, client.DryRunAll); err != nil {
					return err
				}
			}
			return nil
		}
		sid, maxi := as("sid", "security-team"), as("max")
		Expect(move(sid, "security", "platform")).To(refused("sid", "update", "platform", globals))
		Expect(move(sid, "platform", "security")).To(refused("sid", "update", "platform", globals))
		Expect(move(maxi, "security", "platform")).To(Succeed())
		Expect(move(maxi, "platform", "security")).To(Succeed())
		Expect(move(maxi, "security", "default")).To(refused("max", "update", "default", globals))

		By("taking away the tier, which means tier default")
		unset := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"tier":null}}`))
		Expect(sid.Patch(ctx(), global("in-security", ""), unset, client.DryRunAll)).To(refused("sid", "update", "default", globals))
	})

	It("takes server-side apply for a create, and then for an update", func() {
		apply := func(c client.Client) error {
			o := map[string]any{
				"apiVersion": "tierwall.io/v1alpha1", "kind": "GlobalNetworkPolicy",
				"metadata": map[string]any{"name": "applied"},
				"spec":     map[string]any{"tier": "security"},
			}
			return c.Apply(ctx(), applied(o), client.FieldOwner("test"))
		}
		Expect(apply(as("kim"))).To(refused("kim", "create", "security", globals))
		Expect(apply(as("ron"))).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), global("applied", ""))).To(Succeed()) })
		Expect(as("ron").Patch(ctx(), global("applied", ""), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"order":1}}`)))).
			To(refused("ron", "update", "security", globals))
	})

	It("guards each policy of a request that deletes many", func() {
		sid := as("sid", "security-team")
		count := func() int {
			var list v1alpha1.NetworkPolicyList
			Expect(admin.List(ctx(), &list, client.InNamespace("shop"))).To(Succeed())
			return len(list.Items)
		}
		Expect(as("kim").DeleteAllOf(ctx(), &v1alpha1.NetworkPolicy{}, client.InNamespace("shop"))).To(WithTransform(outcome, Equal(noTier)))
		Expect(count()).To(Equal(3))
		Expect(sid.DeleteAllOf(ctx(), &v1alpha1.NetworkPolicy{}, client.InNamespace("shop"))).To(WithTransform(outcome, Equal(noTier)))
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(local("shop", "in-default", "")), &v1alpha1.NetworkPolicy{})).To(Succeed())
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(local("shop", "in-platform", "")), &v1alpha1.NetworkPolicy{})).To(Succeed())

		By("selecting the tier that is one's own")
		before := count()
		Expect(sid.DeleteAllOf(ctx(), &v1alpha1.GlobalNetworkPolicy{}, client.MatchingFields{"spec.tier": "security"})).To(Succeed())
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(global("in-security", "")), &v1alpha1.GlobalNetworkPolicy{})).
			To(WithTransform(apierrors.IsNotFound, BeTrue()))
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(global("in-platform", "")), &v1alpha1.GlobalNetworkPolicy{})).To(Succeed())
		Expect(count()).To(Equal(before))
	})

	It("leaves the status to RBAC alone", func() {
		bindStatus()
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"observedGeneration":1}}`))
		Eventually(func() error { return as("stan").Status().Patch(ctx(), global("in-security", ""), patch) }).Should(Succeed())
		Expect(as("kim").Status().Patch(ctx(), global("in-security", ""), patch)).To(WithTransform(outcome, Equal(noKind)))
	})

	// Were they refused, no namespace that holds a policy could ever be deleted.
	It("lets the cluster delete policies with their namespace and their owner", func() {
		namespaces := as("system:serviceaccount:kube-system:namespace-controller")
		Expect(namespaces.DeleteAllOf(ctx(), &v1alpha1.NetworkPolicy{}, client.InNamespace("payments"))).To(Succeed())
		var list v1alpha1.NetworkPolicyList
		Expect(admin.List(ctx(), &list, client.InNamespace("payments"))).To(Succeed())
		Expect(list.Items).To(BeEmpty())
		garbage := as("system:serviceaccount:kube-system:generic-garbage-collector")
		Expect(garbage.Delete(ctx(), local("shop", "in-platform", ""))).To(Succeed())
		Expect(garbage.Delete(ctx(), global("in-security", ""))).To(Succeed())

		By("not taking another service account of that name for it")
		bind("", "system:serviceaccount:shop:namespace-controller", "kim")
		Eventually(func() error {
			return as("system:serviceaccount:shop:namespace-controller").Delete(ctx(), local("shop", "in-default", ""))
		}).Should(WithTransform(outcome, Equal(noTier)))
	})

	It("leaves the tiers themselves to RBAC", func() {
		Expect(as("sid", "security-team").Patch(ctx(), &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "security"}},
			client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"order":1}}`)), client.DryRunAll)).To(WithTransform(outcome, Equal(noKind)))
		Expect(as("sid", "security-team").Create(ctx(), &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, client.DryRunAll)).
			To(WithTransform(outcome, Equal(noKind)))
		Expect(as("root2").Patch(ctx(), &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "security"}},
			client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"order":1}}`)), client.DryRunAll)).To(Succeed())
	})
})
