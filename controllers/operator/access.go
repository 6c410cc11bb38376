package operator

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

func serviceAccount(s Settings) client.Object {
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: AgentName, Namespace: s.Namespace, Labels: ownLabels()}}
	sa.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	return sa
}

// AgentRules are the rights of the agents in the API server: to watch what they
// enforce, and to report on their node. The manager has all of them too, because RBAC
// does not let it grant rights that it lacks.
func AgentRules() []rbacv1.PolicyRule {
	watch := []string{"list", "watch"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces", "nodes", "pods", "serviceaccounts"}, Verbs: watch},
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: watch},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"networkpolicies"}, Verbs: watch},
		{APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, Verbs: watch},
		{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{
			"globalnetworkpolicies", "globalnetworksets", "hostendpoints", "networkpolicies", "networksets", "tiers", "tierwalls",
		}, Verbs: watch},
		{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"nodereports"}, Verbs: []string{"create", "get", "patch", "update"}},
		{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"podaddressreports"}, Verbs: []string{"create", "list", "patch", "watch"}},
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"policy.networking.k8s.io"}, Resources: []string{"clusternetworkpolicies"}, Verbs: watch},
		{APIGroups: []string{"crd.projectcalico.org", "projectcalico.org"}, Resources: []string{
			"felixconfigurations", "globalnetworkpolicies", "globalnetworksets", "hostendpoints", "kubecontrollersconfigurations",
			"networkpolicies", "networksets", "stagedglobalnetworkpolicies", "stagedkubernetesnetworkpolicies", "stagednetworkpolicies", "tiers",
		}, Verbs: watch},
	}
}

func clusterRole() client.Object {
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: AgentName, Labels: ownLabels()}, Rules: AgentRules()}
	r.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"))
	return r
}

func clusterRoleBinding(s Settings) client.Object {
	b := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: AgentName, Labels: ownLabels()},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: AgentName},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: AgentName, Namespace: s.Namespace}},
	}
	b.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"))
	return b
}

// service lets Prometheus find the agents' metrics; it has no address of its
// own. Where only the node itself can read them there is none.
func service(tw *v1alpha1.Tierwall, s Settings) client.Object {
	port := metricsPort(tw)
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: AgentName, Namespace: s.Namespace, Labels: ownLabels()},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone,
			Selector:  AgentSelector(),
			Ports: []corev1.ServicePort{{
				Name: "metrics", Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(port),
			}},
		},
	}
	svc.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	return svc
}
