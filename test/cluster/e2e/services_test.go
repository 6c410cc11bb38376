//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/tierwall/tierwall/test/cluster/probe"
)

// serviceSpecs are about what kube-proxy translates.
func serviceSpecs() {
	It("sees the pods behind a Service, and lets rules name the Service", Label("short"), func(ctx SpecContext) {
		db := newService(ctx, "alpha", "db", corev1.ServiceTypeClusterIP)
		api := newService(ctx, "alpha", "api", corev1.ServiceTypeClusterIP)
		both := append(db.flows(pods.pods), api.flows(pods.pods)...)
		expectAllowed(ctx, both)
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: services}
spec:
  selector: role == 'web'
  types: [Egress]
  egress:
  - {action: Allow, protocol: TCP, destination: {services: {name: db, namespace: alpha}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: alpha}
spec:
  podSelector: {matchLabels: {role: api}}
  ingress: [{from: [{podSelector: {matchLabels: {role: db}}}]}]
`)
		expect(ctx, both, func(f flow) bool {
			if f.to.name == "alpha/db" {
				return f.network == probe.TCP || !strings.HasSuffix(f.from.name, "/web")
			}
			return f.from.name == "alpha/db" || f.from.name == "alpha/api"
		})
		// The Service has port 80 of db alone; 81 is no part of it.
		expectDenied(ctx, flows([]*place{pods.at("beta/web")}, []*place{pods.at("alpha/db")}, tcp(81)))
	}, SpecTimeout(2*minute))

	It("guards node ports before they are translated, with preDNAT", Label("short"), func(ctx SpecContext) {
		db := newService(ctx, "alpha", "db", corev1.ServiceTypeNodePort)
		api := newService(ctx, "beta", "api", corev1.ServiceTypeNodePort)
		sources := append([]*place{pods.cp}, pods.hosts...)
		both := append(db.nodePorts(sources), api.nodePorts(sources)...)
		expectAllowed(ctx, both)
		for _, node := range bed.Nodes() {
			apply(ctx, hostEndpoint(node, "Allow"))
		}
		expectAllowed(ctx, both)
		apply(ctx, fmt.Sprintf(`
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: node-ports}
spec:
  preDNAT: true
  applyOnForward: true
  selector: has(host)
  types: [Ingress]
  ingress:
  - {action: Deny, protocol: TCP, source: {nets: [10.200.0.1/32]}, destination: {ports: [%[1]d]}}
  - {action: Deny, protocol: TCP, source: {nets: ["fd00:200::1/128"]}, destination: {ports: [%[1]d]}}
`, db.nodePort))
		expect(ctx, both, func(f flow) bool { return f.from != pods.cp || f.port != db.nodePort })
		expectAllowed(ctx, flows([]*place{pods.cp}, pods.pods, tcp(80)))
	}, SpecTimeout(2*minute))
}

// target is a Service with one pod behind it.
type target struct {
	to        *place
	addresses []netip.Addr
	nodePort  int
}

// newService makes a Service of one role of a namespace, of both families if
// there are two, TCP and UDP.
func newService(ctx context.Context, ns, role string, t corev1.ServiceType) target {
	GinkgoHelper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role},
		Spec: corev1.ServiceSpec{
			Type: t, Selector: map[string]string{"role": role}, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyPreferDualStack),
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 8000, TargetPort: intstr.FromInt32(port80), Protocol: corev1.ProtocolTCP},
				{Name: "dgram", Port: 8000, TargetPort: intstr.FromInt32(port80), Protocol: corev1.ProtocolUDP},
			},
		},
	}
	create(ctx, s)
	r := target{to: pods.at(ns + "/" + role), nodePort: int(s.Spec.Ports[0].NodePort)}
	for _, ip := range s.Spec.ClusterIPs {
		r.addresses = append(r.addresses, netip.MustParseAddr(ip))
	}
	Expect(r.addresses).NotTo(BeEmpty())
	return r
}

// flows are those to the Service's own addresses.
func (s target) flows(from []*place) []flow {
	var all []flow
	for _, p := range from {
		for _, a := range s.addresses {
			for _, network := range []string{probe.TCP, probe.UDP} {
				all = append(all, flow{from: p, to: s.to, network: network, port: 8000, address: a})
			}
		}
	}
	return all
}

// nodePorts are the flows to the node port of all nodes but a source's own.
func (s target) nodePorts(from []*place) []flow {
	var all []flow
	for _, p := range from {
		for _, h := range pods.hosts {
			if h == p {
				continue
			}
			for _, a := range h.addresses {
				all = append(all, flow{from: p, to: s.to, network: probe.TCP, port: s.nodePort, address: a})
			}
		}
	}
	return all
}

// hostEndpoint is one for all interfaces of a node but those of pods.
func hostEndpoint(node, defaultAction string) string {
	return fmt.Sprintf(`
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: %[1]s, labels: {host: %[1]s}}
spec: {node: %[1]s, interfaceName: "*", defaultAction: %[2]s}
`, node, defaultAction)
}
