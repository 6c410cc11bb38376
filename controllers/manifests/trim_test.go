package manifests

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

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

// What is read of a pod is read of one from a file, too, in which nothing else is kept.
func TestFilesKeepWhatIsRead(t *testing.T) {
	text := `apiVersion: v1
kind: Pod
metadata:
  name: a
  namespace: ns
  labels: {app: a, pod-template-hash: x}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: a-x, uid: u, controller: true}]
spec:
  nodeName: node-1
  hostNetwork: true
  serviceAccountName: s
  serviceAccount: s
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - {name: i, image: i, restartPolicy: Always, ports: [{name: side, containerPort: 1, protocol: UDP}]}
  containers:
  - {name: c, image: i, env: [{name: A, value: b}], ports: [{name: web, containerPort: 80}, {containerPort: 81, hostPort: 82}]}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  containerStatuses: [{name: c, image: i, imageID: i, ready: true, restartCount: 0}]
`
	whole := &corev1.Pod{}
	if err := yaml.Unmarshal([]byte(text), whole); err != nil {
		t.Fatal(err)
	}
	r, err := LoadBytes("pod.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := r.Objects[0].Object.(*corev1.Pod)
	if want := Trim(whole); !reflect.DeepEqual(Trim(got), want) {
		t.Errorf("got %+v\nwant %+v", Trim(got), want)
	}
	if !reflect.DeepEqual(got.ObjectMeta, whole.ObjectMeta) || len(got.Spec.Containers[0].Ports) != 2 {
		t.Errorf("metadata or ports differ: %+v", got)
	}
	if got.Spec.Volumes != nil || got.Spec.Containers[0].Env != nil || got.Status.ContainerStatuses != nil {
		t.Errorf("what nobody reads is kept: %+v", got)
	}
	// What the tree held before it was cut is looked at all the same.
	if _, err := LoadBytes("pod.yaml", []byte(strings.Replace(text, "value: b", "value: 1", 1))); err == nil {
		t.Error("a number where text belongs is no error")
	}
}
