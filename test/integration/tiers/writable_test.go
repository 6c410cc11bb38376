package tiers

import (
	"os"
	"regexp"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writable are the resources that a role lets its holders write, as resource.group.
func writable(role string) (out []string) {
	GinkgoHelper()
	var r rbacv1.ClusterRole
	Expect(admin.Get(ctx(), client.ObjectKey{Name: role}, &r)).To(Succeed())
	for _, rule := range r.Rules {
		if !slices.ContainsFunc(rule.Verbs, func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) }) {
			continue
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				out = append(out, strings.TrimSuffix(resource+"."+group, "."))
			}
		}
	}
	return out
}

var _ = Describe("what editors and administrators of a namespace can write", func() {
	It("is what docs/security.md goes through, and nothing else", func() {
		text, err := os.ReadFile("../../../docs/security.md")
		Expect(err).NotTo(HaveOccurred())
		var listed []string
		_, section, found := strings.Cut(string(text), "\n### What else a namespace's roles can write\n")
		Expect(found).To(BeTrue())
		section, _, _ = strings.Cut(section, "\n## ")
		for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \|`).FindAllStringSubmatch(section, -1) {
			for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
				listed = append(listed, name[1])
			}
		}
		slices.Sort(listed)
		var all []string
		// The rules of edit and admin themselves are put together by a controller of the cluster.
		for _, role := range []string{"system:aggregate-to-edit", "system:aggregate-to-admin", "tierwall-edit", "tierwall-admin"} {
			all = append(all, writable(role)...)
		}
		slices.Sort(all)
		Expect(listed).To(Equal(slices.Compact(all)))
	})

	It("hands on no right to another tier", func() {
		bind("shop", "ada", "system:aggregate-to-admin")
		ada := as("ada")
		role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
			return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Rules: rules}
		}
		binding := func(name, role string) *rbacv1.RoleBinding {
			return &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
				Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "ada"}},
			}
		}
		tier := func(name string) rbacv1.PolicyRule {
			return rule([]string{"create"}, []string{"tiers/" + policies}, name)
		}
		Expect(apierrors.IsForbidden(ada.Create(ctx(), role("security", tier("security"))))).To(BeTrue())
		Expect(apierrors.IsForbidden(ada.Create(ctx(), role("all", rule([]string{"create"}, []string{"tiers/" + policies}))))).To(BeTrue())
		Expect(apierrors.IsForbidden(ada.Create(ctx(), binding("tim", "tim")))).To(BeTrue())
		By("what she has she may hand on")
		for _, o := range []client.Object{role("default", tier("default")), binding("own", "tierwall-admin")} {
			Expect(ada.Create(ctx(), o)).To(Succeed())
			DeferCleanup(func() { Expect(admin.Delete(ctx(), o)).To(Succeed()) })
		}
	})
})
