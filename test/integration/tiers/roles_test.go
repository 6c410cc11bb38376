package tiers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The users of the specs:
//
//	sid   a member of security-team, who own tier security (config/rbac/examples)
//	ada   namespace administrator of shop: holds tierwall-view, -edit and -admin there
//	eve   editor in shop: tierwall-view and -edit
//	vic   viewer in shop: tierwall-view
//	pat   may write tier security and policies, in namespace payments only
//	kim   may do everything with policies, and has no tier
//	tim   has tier security, and nothing on policies
//	max   may do everything with policies, and has tiers security and platform
//	ron   as kim, and may only create and delete in tier security
//	root2 holds ClusterRole cluster-admin
const (
	policies = "networkpolicies"
	globals  = "globalnetworkpolicies"
)

var anything = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

// rule of group tierwall.io.
func rule(verbs, resources []string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"tierwall.io"}, Resources: resources, ResourceNames: names, Verbs: verbs}
}

// makeRoles gives the users their roles.
func makeRoles() {
	GinkgoHelper()
	kinds := rule(anything, []string{policies, globals})
	tier := func(names ...string) rbacv1.PolicyRule {
		return rule([]string{"create", "update", "delete"}, []string{"tiers/" + policies, "tiers/" + globals}, names...)
	}
	for name, rules := range map[string][]rbacv1.PolicyRule{
		"kim": {kinds},
		"tim": {tier("security")},
		"max": {kinds, tier("security", "platform")},
		"ron": {kinds, rule([]string{"create", "delete"}, []string{"tiers/" + policies, "tiers/" + globals}, "security")},
		"pat": {kinds, tier("security")},
	} {
		Expect(admin.Create(ctx(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})).To(Succeed())
	}
	for _, name := range []string{"kim", "tim", "max", "ron"} {
		bind("", name, name)
	}
	bind("", "root2", "cluster-admin")
	bind("payments", "pat", "pat")
	for user, roles := range map[string][]string{
		"ada": {"tierwall-view", "tierwall-edit", "tierwall-admin"},
		"eve": {"tierwall-view", "tierwall-edit"},
		"vic": {"tierwall-view"},
	} {
		for _, role := range roles {
			bind("shop", user, role)
		}
	}
}

// bind gives a user a ClusterRole, in one namespace or in the whole cluster.
func bind(namespace, user, role string) {
	GinkgoHelper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: user + "-" + role}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}
	var o client.Object = &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
	if namespace == "" {
		o = &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
	}
	Expect(admin.Create(ctx(), o)).To(Succeed())
}

var _ = Describe("the roles of users", func() {
	// A controller of the cluster adds the rules; what it goes by is in the roles
	// that every API server has.
	It("are aggregated to view, edit and admin", func() {
		for standard, role := range map[string]string{"view": "tierwall-view", "edit": "tierwall-edit", "admin": "tierwall-admin"} {
			var to, from rbacv1.ClusterRole
			Expect(admin.Get(ctx(), client.ObjectKey{Name: standard}, &to)).To(Succeed())
			Expect(admin.Get(ctx(), client.ObjectKey{Name: role}, &from)).To(Succeed())
			Expect(to.AggregationRule).NotTo(BeNil())
			matched := false
			for i := range to.AggregationRule.ClusterRoleSelectors {
				s, err := metav1.LabelSelectorAsSelector(&to.AggregationRule.ClusterRoleSelectors[i])
				Expect(err).NotTo(HaveOccurred())
				matched = matched || s.Matches(labels.Set(from.Labels))
			}
			Expect(matched).To(BeTrue(), "%s to %s", role, standard)
		}
	})

	It("name no kind and no verb with an asterisk", func() {
		for _, role := range []string{"tierwall-view", "tierwall-edit", "tierwall-admin", "tier-security-owner"} {
			var r rbacv1.ClusterRole
			Expect(admin.Get(ctx(), client.ObjectKey{Name: role}, &r)).To(Succeed())
			for _, rule := range r.Rules {
				Expect(append(append(rule.APIGroups, rule.Resources...), rule.Verbs...)).NotTo(ContainElement("*"), role)
			}
		}
	})
})
