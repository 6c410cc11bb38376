package verdict_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// TestTenantsObjects holds what the objects that a namespace's editors and admins can
// write do to a rule of a global policy of somebody else's, which guards pay/db and
// lets one peer in. Namespace shop is the peer's, namespace evil the tenant's.
func TestTenantsObjects(t *testing.T) {
	const db, attacker, outside = "10.0.0.1", "10.0.0.66", "203.0.113.1"
	meta := func(namespace, name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}
	}
	pod := func(namespace, name, account, addr string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: meta(namespace, name, labels), Spec: corev1.PodSpec{NodeName: "n", ServiceAccountName: account},
			Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: addr}}},
		}
	}
	slice := func(namespace, service string, addrs ...string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta:  meta(namespace, service+"-x", map[string]string{discoveryv1.LabelServiceName: service}),
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: addrs}},
		}
	}
	account := func(namespace string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: meta(namespace, "scraper", map[string]string{"role": "scraper"})}
	}
	service := func(spec corev1.ServiceSpec) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta("evil", "web", nil), Spec: spec, Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: outside}}}}}
	}
	mine := pod("evil", "p", "default", attacker, map[string]string{"app": "p"})
	const opens, harmless = true, false
	for _, tt := range []struct {
		name   string
		peer   v1alpha1.EntityRule
		object []runtime.Object
		from   string
		want   bool
	}{
		// Labels that Tierwall gives itself are not taken from objects.
		{"a pod that says it is in shop", v1alpha1.EntityRule{Selector: "projectcalico.org/namespace == 'shop'"},
			[]runtime.Object{pod("evil", "p", "default", attacker, map[string]string{"projectcalico.org/namespace": "shop", "tierwall.io/namespace": "shop"})}, attacker, harmless},
		{"a pod that says it runs as an account", v1alpha1.EntityRule{ServiceAccounts: &v1alpha1.ServiceAccountMatch{Names: []string{"scraper"}}},
			[]runtime.Object{pod("evil", "p", "default", attacker, map[string]string{"projectcalico.org/serviceaccount": "scraper"})}, attacker, harmless},
		{"a pod of the label in another namespace than the rule's", v1alpha1.EntityRule{Selector: "app == 'web'", NamespaceSelector: "kubernetes.io/metadata.name == 'shop'"},
			[]runtime.Object{pod("evil", "p", "default", attacker, map[string]string{"app": "web"})}, attacker, harmless},
		// What labels alone decide, whoever labels pods decides: documented, and no other meaning is there.
		{"a pod of the label, where the rule asks for nothing else", v1alpha1.EntityRule{Selector: "app == 'web'"},
			[]runtime.Object{pod("evil", "p", "default", attacker, map[string]string{"app": "web"})}, attacker, opens},
		// Services are named with their namespace.
		{"a slice of that Service's name in another namespace", v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Namespace: "shop", Name: "web"}},
			[]runtime.Object{slice("evil", "web", attacker, outside)}, attacker, harmless},
		{"the same, of an address outside", v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Namespace: "shop", Name: "web"}},
			[]runtime.Object{slice("evil", "web", attacker, outside)}, outside, harmless},
		{"a slice in the Service's own namespace", v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Namespace: "shop", Name: "web"}},
			[]runtime.Object{slice("shop", "web", outside)}, outside, opens},
		// What a Service claims is nobody's address.
		{"a Service of an external address that the rule lets in", v1alpha1.EntityRule{Nets: []string{outside + "/32"}},
			[]runtime.Object{mine, service(corev1.ServiceSpec{Selector: mine.Labels, ExternalIPs: []string{outside}})}, attacker, harmless},
		{"a Service of a load balancer's address that the rule lets in", v1alpha1.EntityRule{Nets: []string{outside + "/32"}},
			[]runtime.Object{mine, service(corev1.ServiceSpec{Selector: mine.Labels, Type: corev1.ServiceTypeLoadBalancer, LoadBalancerIP: outside})}, attacker, harmless},
		{"a Service of an external name", v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Namespace: "shop", Name: "web"}},
			[]runtime.Object{mine, service(corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.shop.svc.cluster.local"})}, attacker, harmless},
		{"a Service of the guarded pod's address", v1alpha1.EntityRule{Selector: "app == 'web'"},
			[]runtime.Object{service(corev1.ServiceSpec{ExternalIPs: []string{db}})}, outside, harmless},
		// Service accounts: names and labels mean those of the namespaces that the rule selects.
		{"an account of the name in another namespace than the rule's", v1alpha1.EntityRule{
			ServiceAccounts: &v1alpha1.ServiceAccountMatch{Names: []string{"scraper"}}, NamespaceSelector: "kubernetes.io/metadata.name == 'shop'"},
			[]runtime.Object{account("evil"), pod("evil", "p", "scraper", attacker, nil)}, attacker, harmless},
		{"an account of the labels in another namespace than the rule's", v1alpha1.EntityRule{
			ServiceAccounts: &v1alpha1.ServiceAccountMatch{Selector: "role == 'scraper'"}, NamespaceSelector: "kubernetes.io/metadata.name == 'shop'"},
			[]runtime.Object{account("evil"), pod("evil", "p", "scraper", attacker, nil)}, attacker, harmless},
		{"an account of the name, where the rule names no namespace", v1alpha1.EntityRule{ServiceAccounts: &v1alpha1.ServiceAccountMatch{Names: []string{"scraper"}}},
			[]runtime.Object{account("evil"), pod("evil", "p", "scraper", attacker, nil)}, attacker, opens},
		// Sets: see TestNamespacedSetsAreNoGlobalPeers.
		{"a set of the labels", v1alpha1.EntityRule{Selector: "app == 'web'"},
			[]runtime.Object{&v1alpha1.NetworkSet{ObjectMeta: meta("evil", "s", map[string]string{"app": "web"}), Spec: v1alpha1.NetworkSetSpec{Nets: []string{outside + "/32"}}}}, outside, harmless},
		// A policy of tier default comes after the guard.
		{"a policy of the tenant's", v1alpha1.EntityRule{Selector: "app == 'web'"},
			[]runtime.Object{&v1alpha1.NetworkPolicy{ObjectMeta: meta("pay", "open", nil), Spec: v1alpha1.NetworkPolicySpec{Ingress: []v1alpha1.Rule{{Action: v1alpha1.Allow}}}}}, outside, harmless},
	} {
		t.Run(tt.name, func(t *testing.T) {
			order := 100.0
			objects := append([]runtime.Object{
				&v1alpha1.Tier{ObjectMeta: meta("", "security", nil), Spec: v1alpha1.TierSpec{Order: &order}},
				&v1alpha1.GlobalNetworkPolicy{ObjectMeta: meta("", "guard", nil), Spec: v1alpha1.GlobalNetworkPolicySpec{
					Tier: "security", Selector: "app == 'db'", Ingress: []v1alpha1.Rule{{Action: v1alpha1.Allow, Source: tt.peer}},
				}},
				pod("pay", "db", "default", db, map[string]string{"app": "db"}),
			}, tt.object...)
			ix := index.New(index.Options{})
			for _, o := range objects {
				if m, _, _ := convert.Object(o); m != nil {
					ix.Upsert(m)
				}
			}
			ix.Flush()
			d := verdict.Decide(ix, model.Flow{Src: netip.MustParseAddr(tt.from), Dst: netip.MustParseAddr(db), Protocol: model.TCP, SrcPort: 40000, DstPort: 5432})
			if got := d.Action == model.Allow; got != tt.want {
				t.Errorf("allowed %v, want %v: %+v", got, tt.want, d)
			}
		})
	}
}

// TestTenantsServices: what another namespace's pod sends to an address that a tenant's
// Service claims is judged by the pod that it is sent on to, and by no rule that allows
// the address.
func TestTenantsServices(t *testing.T) {
	const db, attacker, outside = "10.0.0.1", "10.0.0.66", "203.0.113.1"
	ix := index.New(index.Options{})
	order := 100.0
	for _, o := range []runtime.Object{
		&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "security"}, Spec: v1alpha1.TierSpec{Order: &order}},
		&v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "guard"}, Spec: v1alpha1.GlobalNetworkPolicySpec{
			Tier: "security", Selector: "app == 'db'", Egress: []v1alpha1.Rule{{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Nets: []string{outside + "/32"}}}},
		}},
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "db", Labels: map[string]string{"app": "db"}}, Spec: corev1.PodSpec{NodeName: "n"},
			Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: db}}},
		},
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n"},
			Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: attacker}}},
		},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "s"}, Spec: corev1.ServiceSpec{ExternalIPs: []string{outside}}},
	} {
		if m, _, _ := convert.Object(o); m != nil {
			ix.Upsert(m)
		}
	}
	ix.Flush()
	to := func(addr string) model.Flow {
		return model.Flow{Src: netip.MustParseAddr(db), Dst: netip.MustParseAddr(addr), Protocol: model.TCP, SrcPort: 40000, DstPort: 443}
	}
	if d := verdict.Decide(ix, to(outside)); d.Action != model.Allow {
		t.Fatalf("outside: %+v", d)
	}
	if d := verdict.DecideTranslatedAt(ix, "n", to(outside), to(attacker)); d.Action != model.Deny {
		t.Errorf("sent on to the tenant's pod: %+v", d)
	}
}
