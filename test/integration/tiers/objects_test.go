package tiers

import (
	. "github.com/onsi/ginkgo/v2"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// applied is an object for server-side apply.
func applied(o map[string]any) runtime.ApplyConfiguration {
	return client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: o})
}

// bindStatus gives user stan the right to write the status of policies, and no other.
func bindStatus() {
	GinkgoHelper()
	made(&rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "stan"},
		Rules:      []rbacv1.PolicyRule{rule([]string{"patch", "update"}, []string{globals + "/status"})},
	})
	made(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "stan"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "stan"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "stan"}},
	})
}
