package source

import (
	"math/rand/v2"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
)

// TestTrimKeepsWhatIsRead converts objects filled at random, whole and trimmed.
func TestTrimKeepsWhatIsRead(t *testing.T) {
	pick := rand.New(rand.NewPCG(1, 2))
	one := func(values ...string) string { return values[pick.IntN(len(values))] }
	fill := randfill.NewWithSeed(3).NilChance(0.3).NumElements(0, 4).MaxDepth(8).Funcs(
		func(m *metav1.ObjectMeta, c randfill.Continue) {
			c.FillNoCustom(m)
			m.Namespace, m.Name = "ns", one("a", "b", "Bad_Name")
			if m.Labels == nil {
				m.Labels = map[string]string{}
			}
			m.Labels["app"], m.Labels[discoveryv1.LabelServiceName] = one("x", "y"), one("", "svc")
			m.Annotations = map[string]string{"tierwall.io/enforcement": one("Audit", "Enforced", "?"), "other": "x", "projectcalico.org/IPv4VXLANTunnelAddr": one("10.0.0.1", "junk")}
		},
		func(l *v1alpha1.NodeLinks, _ randfill.Continue) {
			*l = v1alpha1.NodeLinks{
				Addresses: []v1alpha1.NodeAddress{{Address: one("192.0.2.1", "junk"), Interface: "eth0"}},
				Routes:    []v1alpha1.NodeRoute{{Net: one("0.0.0.0/0", "junk"), Interface: "eth0"}},
			}
		},
		func(s *corev1.PodStatus, c randfill.Continue) {
			c.FillNoCustom(s)
			s.Phase = corev1.PodPhase(one("Running", "Pending", "Succeeded"))
			s.PodIP = one("", "10.0.0.1", "junk")
			s.PodIPs = []corev1.PodIP{{IP: one("10.0.0.1", "fd00::1", "junk")}}
		},
		func(p *corev1.ContainerPort, c randfill.Continue) {
			c.FillNoCustom(p)
			p.Name, p.ContainerPort, p.Protocol = one("", "web", "dns"), int32(c.Intn(70000)), corev1.Protocol(one("", "TCP", "UDP", "SCTP", "?"))
		},
		func(a *corev1.NodeAddress, _ randfill.Continue) {
			a.Type, a.Address = corev1.NodeAddressType(one("InternalIP", "ExternalIP", "Hostname")), one("192.0.2.1", "fd00::2", "junk")
		},
		func(s *discoveryv1.EndpointSlice, c randfill.Continue) {
			c.FillNoCustom(s)
			s.AddressType = discoveryv1.AddressType(one("IPv4", "IPv6", "FQDN", "?"))
			for i := range s.Endpoints {
				s.Endpoints[i].Addresses = []string{one("10.0.0.1", "fd00::1", "junk")}
			}
		},
	)
	for _, fresh := range []func() runtime.Object{
		func() runtime.Object { return &corev1.Pod{} },
		func() runtime.Object { return &corev1.Namespace{} },
		func() runtime.Object { return &corev1.ServiceAccount{} },
		func() runtime.Object { return &corev1.Node{} },
		func() runtime.Object { return &discoveryv1.EndpointSlice{} },
		func() runtime.Object { return &networkingv1.NetworkPolicy{} },
		func() runtime.Object { return &v1alpha1.NodeReport{} },
	} {
		converted := 0
		for range 200 {
			o := fresh()
			fill.Fill(o)
			whole, problems, known := convert.Object(o.DeepCopyObject())
			trimmed := Trim(o)
			got, gotProblems, gotKnown := convert.Object(trimmed)
			if known != gotKnown || !reflect.DeepEqual(whole, got) {
				t.Fatalf("%T: converts to\n%+v\ntrimmed to\n%+v", o, whole, got)
			}
			if len(problems) != len(gotProblems) {
				t.Fatalf("%T: problems %v, trimmed %v", o, problems, gotProblems)
			}
			if whole != nil {
				converted++
			}
		}
		if converted == 0 {
			t.Errorf("%T: none of the objects counts for anything", fresh())
		}
	}
}

func TestTrimLeavesOutTheRest(t *testing.T) {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{}}, UID: "u", ResourceVersion: "5"},
		Spec: corev1.PodSpec{NodeName: "n", Volumes: []corev1.Volume{{Name: "v"}}, Containers: []corev1.Container{
			{Name: "c", Env: []corev1.EnvVar{{Name: "e"}}, Ports: []corev1.ContainerPort{{ContainerPort: 1}, {Name: "web", ContainerPort: 2, HostIP: "h"}}},
			{Name: "no-ports"},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", ContainerStatuses: []corev1.ContainerStatus{{}}},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 2}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"},
	}
	if got := Trim(p); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
