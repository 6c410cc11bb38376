package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/model"
)

// Foreign makes worlds for the interpreters of foreign policies: a small cluster, always
// the same, and manifests as JSON. Like a Stream it draws from few names, so that
// everything collides.
type Foreign struct{ rng *rand.Rand }

// NewForeign is a source of worlds; the same seed gives the same worlds.
func NewForeign(seed uint64) *Foreign { return &Foreign{rand.New(rand.NewPCG(seed, 0))} }

func draw[T any](f *Foreign, of ...T) T { return of[f.rng.IntN(len(of))] }

func (f *Foreign) chance(p float64) bool { return f.rng.Float64() < p }

type document = map[string]any

// foreignPods are the pods: namespace, name, address, second address, node, app, role.
var foreignPods = [][7]string{
	{"a", "web", "10.1.1.5", "fd00:10:1::5", "n1", "x", "y"},
	{"a", "db", "10.1.1.6", "", "n1", "y", ""},
	{"a", "job", "10.1.2.5", "fd00:10:2::5", "n2", "x", ""},
	{"b", "web", "10.1.2.6", "fd00:10:2::6", "n2", "x", "x"},
	{"b", "db", "10.1.1.7", "", "n1", "", "y"},
}

var foreignAddrs = []string{
	"10.1.1.5", "fd00:10:1::5", "10.1.1.6", "10.1.2.5", "fd00:10:2::5", "10.1.2.6", "fd00:10:2::6", "10.1.1.7",
	"192.0.2.1", "192.0.2.2", "203.0.113.5", "203.0.113.200", "198.51.100.9", "2001:db8::9", "10.200.0.1",
}

// Cluster is the objects that the manifests are about.
func (f *Foreign) Cluster() []runtime.Object {
	var out []runtime.Object
	for _, ns := range [][2]string{{"a", "x"}, {"b", "y"}} {
		out = append(out, &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: ns[0], Labels: map[string]string{"env": ns[1]}}})
		out = append(out, &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta: metav1.ObjectMeta{Namespace: ns[0], Name: "web", Labels: map[string]string{"team": ns[1]}}})
	}
	for i, name := range []string{"n1", "n2"} {
		out = append(out, &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "zone": draw(f, "x", "y")}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.0.2.%d", i+1)}}}})
	}
	for _, p := range foreignPods {
		pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Namespace: p[0], Name: p[1], Labels: map[string]string{}},
			Spec: corev1.PodSpec{NodeName: p[4], ServiceAccountName: draw(f, "default", "web"), Containers: []corev1.Container{{Name: "main", Image: "i",
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: draw(f, int32(80), 8080)}, {Name: "dns", ContainerPort: 5353, Protocol: corev1.ProtocolUDP}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: p[2], PodIPs: []corev1.PodIP{{IP: p[2]}}}}
		if p[3] != "" {
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: p[3]})
		}
		for i, key := range []string{"app", "role"} {
			if p[5+i] != "" {
				pod.Labels[key] = p[5+i]
			}
		}
		out = append(out, pod)
	}
	name, protocol, port, ready := "", corev1.ProtocolTCP, int32(80), true
	return append(out, &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "svc"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		&discoveryv1.EndpointSlice{TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
			ObjectMeta:  metav1.ObjectMeta{Namespace: "a", Name: "svc-1", Labels: map[string]string{discoveryv1.LabelServiceName: "svc"}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.1.5", "203.0.113.5"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}})
}

// Flows returns n connection attempts between places of one IP version. None is from or
// to a node and something of the same node, or from a place to itself; none is at a
// failsafe port.
func (f *Foreign) Flows(n int) []model.Flow {
	node := map[string]string{"192.0.2.1": "n1", "192.0.2.2": "n2"}
	home := map[string]string{}
	for _, p := range foreignPods {
		home[p[2]], home[p[3]] = p[4], p[4]
	}
	var out []model.Flow
	for len(out) < n {
		src, dst := draw(f, foreignAddrs...), draw(f, foreignAddrs...)
		a, b := netip.MustParseAddr(src), netip.MustParseAddr(dst)
		inside := func(s string) bool { return home[s] != "" || node[s] != "" }
		if src == dst || a.Is4() != b.Is4() || !inside(src) && !inside(dst) || node[src] != "" && node[src] == home[dst] || node[dst] != "" && node[dst] == home[src] {
			continue
		}
		flow := model.Flow{Src: a, Dst: b, SrcPort: 40000, Protocol: draw(f, model.TCP, model.TCP, model.TCP, model.UDP, model.SCTP, model.ICMPv4)}
		if flow.Protocol == model.ICMPv4 {
			flow.SrcPort, flow.ICMPType = 0, draw(f, uint8(8), 0, 3)
			if !a.Is4() {
				flow.Protocol, flow.ICMPType = model.ICMPv6, draw(f, uint8(128), 129, 1)
			}
		} else {
			flow.DstPort = draw(f, uint16(80), 80, 8080, 81, 443, 5353)
		}
		out = append(out, flow)
	}
	return out
}

// manifest writes a document.
func manifest(d document) []byte {
	text, err := json.Marshal(d)
	if err != nil {
		return nil // of strings, numbers and lists there is none
	}
	return text
}
