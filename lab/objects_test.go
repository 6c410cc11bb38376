//go:build linux

package lab

import (
	"net/netip"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/model"
)

func podObject(namespace, name, node string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func hostEndpoint(name, node, nic string, ips ...string) *v1alpha1.HostEndpoint {
	return &v1alpha1.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.HostEndpointSpec{Node: node, InterfaceName: nic, ExpectedIPs: ips}}
}

var _ = Describe("FromObjects", func() {
	It("makes a spec and services of a cluster's objects, in any order", func() {
		done := podObject("a", "done", "n1", "10.1.1.9")
		done.Status.Phase = corev1.PodSucceeded
		hostNetwork := podObject("a", "agent", "n2", "192.0.2.7")
		hostNetwork.Spec.HostNetwork = true
		ready, notReady, port, name, tcp := true, false, int32(8080), "http", corev1.ProtocolTCP
		objects := []runtime.Object{
			&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n1"},
				Spec:       corev1.NodeSpec{PodCIDR: "10.1.1.0/24", PodCIDRs: []string{"10.1.1.0/24", "fd00:1::/64", "bad"}},
				Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
					{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeExternalIP, Address: "198.18.0.1"},
				}},
			},
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}},
			podObject("a", "web", "n1", "10.1.1.1", "fd00:1::1"),
			podObject("", "plain", "", "10.2.0.1"),
			podObject("a", "twin", "n1", "10.1.1.1"),
			podObject("a", "pending", "n1"),
			podObject("b", "far", "n9", "10.9.0.1"),
			done, hostNetwork,
			hostEndpoint("eth1", "n1", "eth1", "198.18.0.1", "198.18.0.2"),
			hostEndpoint("ens5", "n3", "ens5"),
			hostEndpoint("some", "n3", "", "203.0.113.3"),
			hostEndpoint("all", "n1", "*"),
			&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web"},
				Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd00:96::1"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "none", Port: 81}}},
			},
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80}}}},
			&discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
				Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
				Endpoints: []discoveryv1.Endpoint{
					{Addresses: []string{"10.1.1.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}},
					{Addresses: []string{"10.9.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &notReady}},
					{Addresses: []string{"10.77.0.1"}},
				},
			},
			&corev1.Secret{},
		}
		want := Spec{
			Nodes: []Node{
				{Name: DefaultNode, Addrs: addrs("172.31.255.1", "fd00:172:31:255::1")},
				{Name: "n1", Addrs: addrs("192.0.2.1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}, Links: []Link{{Name: "eth1", Addrs: addrs("198.18.0.1", "198.18.0.2")}}},
				{Name: "n2", Addrs: addrs("172.31.255.2", "fd00:172:31:255::2")},
				{Name: "n3", Interface: "ens5", Addrs: addrs("203.0.113.3")},
				{Name: "n9", Addrs: addrs("172.31.255.3", "fd00:172:31:255::3")},
			},
			Pods: []Pod{
				{Namespace: "default", Name: "plain", Node: DefaultNode, Addrs: addrs("10.2.0.1")},
				{Namespace: "a", Name: "agent", Node: "n2", HostNetwork: true},
				{Namespace: "a", Name: "twin", Node: "n1", Addrs: addrs("10.1.1.1")},
				{Namespace: "a", Name: "web", Node: "n1", Addrs: addrs("fd00:1::1")},
				{Namespace: "b", Name: "far", Node: "n9", Addrs: addrs("10.9.0.1")},
			},
		}
		for range 2 {
			spec, services, err := FromObjects(objects)
			Expect(err).NotTo(HaveOccurred())
			Expect(spec).To(Equal(want))
			Expect(services).To(Equal([]Service{{Addr: addrPort("10.96.0.1:80"), Protocol: model.TCP, Backends: addrPorts("10.1.1.1:8080")}}))
			slices.Reverse(objects)
		}
		l := bring(want)
		Expect(try(l, flow(model.TCP, "10.2.0.1", "198.18.0.2", 80))).To(And(beDelivered, HaveField("At", "n1")))
		Expect(try(l, flow(model.TCP, "192.0.2.1", "203.0.113.3", 80))).To(And(beDelivered, HaveField("At", "n3")))
	})

	It("says what cannot be built", func() {
		_, _, err := FromObjects([]runtime.Object{podObject("a", "b", "x/y", "10.0.0.1")})
		Expect(err).To(MatchError(ContainSubstring(`node "x/y"`)))
	})

	It("builds the sample world and every pod reaches every pod", func() {
		r, err := manifests.Load([]string{"../config/samples"}, manifests.Options{})
		Expect(err).NotTo(HaveOccurred())
		r.Complete()
		var objects []runtime.Object
		for _, o := range r.Objects {
			objects = append(objects, o.Object)
		}
		spec, services, err := FromObjects(objects)
		Expect(err).NotTo(HaveOccurred())
		Expect(len(spec.Pods)).To(BeNumerically(">", 3))
		l := bring(spec)
		Expect(l.SetServices(services...)).To(Succeed())
		var flows []model.Flow
		for _, p := range spec.Pods {
			for _, q := range spec.Pods {
				for _, a := range p.Addrs {
					if b := of(q.Addrs, a.Is4()); b.IsValid() {
						flows = append(flows, flow(model.TCP, a.String(), b.String(), 8080))
					}
				}
			}
		}
		Expect(probeAll(l, flows, delivered)).To(BeEmpty())
	})
})
