//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/test/cluster/image"
)

// coreDNS is the cluster's DNS, as distributions of Kubernetes deploy it, on one node.
// Name nI-J.race.example has an address of its own, which the machine beside the cluster
// answers at; www.shop.example leads there by a CNAME record.
const coreDNS = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: coredns, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: e2e:coredns}
rules:
- {apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: e2e:coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "e2e:coredns"}
subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
      errors
      ready
      template IN A race.example {
        match "^n([0-9]+)-([0-9]+)[.]race[.]example[.]$"
        answer "{{ .Name }} 30 IN A 10.220.{{ index .Match 1 }}.{{ index .Match 2 }}"
      }
      template IN AAAA race.example {
        match "^n([0-9]+)-([0-9]+)[.]race[.]example[.]$"
        answer "{{ .Name }} 30 IN AAAA fd00:220::{{ index .Match 1 }}:{{ index .Match 2 }}"
      }
      kubernetes cluster.local
      file /etc/coredns/shop.example shop.example
    }
  shop.example: |
    @ 30 IN SOA ns hostmaster 1 3600 600 86400 30
    www 30 IN CNAME edge.cdn
    edge.cdn 30 IN A 10.220.255.1
    edge.cdn 30 IN AAAA fd00:220::255:1
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      serviceAccountName: coredns
      nodeSelector: {kubernetes.io/hostname: %[1]s}
      terminationGracePeriodSeconds: 0
      containers:
      - name: coredns
        image: %[2]s
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        readinessProbe: {httpGet: {path: /ready, port: 8181}, periodSeconds: 1}
        volumeMounts: [{name: config, mountPath: /etc/coredns}]
      volumes: [{name: config, configMap: {name: coredns}}]
---
` + dnsService

// dnsService is the Service by which the cluster's DNS is found.
const dnsService = `
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  selector: {k8s-app: kube-dns}
  ipFamilyPolicy: PreferDualStack
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
`

// deployDNS deploys CoreDNS on the first node and waits until it answers. It is removed
// after the last spec that uses it.
func deployDNS(ctx context.Context) {
	GinkgoHelper()
	i, err := image.Builder{Module: module, Work: work}.CoreDNS(bed.Program("coredns"))
	Expect(err).NotTo(HaveOccurred())
	archive := filepath.Join(work, "coredns.tar")
	Expect(i.WriteFile(archive)).To(Succeed())
	Expect(bed.LoadImage(ctx, archive)).To(Succeed())
	all := parse(fmt.Sprintf(coreDNS, bed.Nodes()[0], image.CoreDNSName))
	DeferCleanup(func(ctx SpecContext) { remove(ctx, all...) }, NodeTimeout(minute))
	for _, o := range all {
		Expect(admin.Create(ctx, o.DeepCopy())).To(Succeed(), o.GetName())
	}
	awaitDNS(ctx)
	// The machine beside the cluster has all addresses of two blocks.
	for _, block := range raceBlocks() {
		_, err := run(ctx, "cp", "ip", "route", "add", "local", block.String(), "dev", "lo")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) {
			_, err := run(ctx, "cp", "ip", "route", "del", "local", block.String(), "dev", "lo")
			Expect(err).NotTo(HaveOccurred())
		})
	}
}

// awaitDNS waits until one pod of CoreDNS is there, and ready.
func awaitDNS(ctx context.Context) corev1.Pod {
	GinkgoHelper()
	var l corev1.PodList
	Eventually(ctx, func(g Gomega) {
		g.Expect(admin.List(ctx, &l, client.InNamespace("kube-system"), client.MatchingLabels{"k8s-app": "kube-dns"})).To(Succeed())
		g.Expect(l.Items).To(HaveLen(1))
		ready := false
		for _, c := range l.Items[0].Status.Conditions {
			ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		g.Expect(ready).To(BeTrue(), "%v", l.Items[0].Status)
	}).WithTimeout(minute).Should(Succeed())
	return l.Items[0]
}

// dnsServers are the addresses of the Service, one a family.
func dnsServers(ctx context.Context) []netip.AddrPort {
	GinkgoHelper()
	var s corev1.Service
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-dns"}, &s)).To(Succeed())
	var all []netip.AddrPort
	for _, ip := range s.Spec.ClusterIPs {
		all = append(all, netip.AddrPortFrom(netip.MustParseAddr(ip), 53))
	}
	return all
}

// raceBlocks are those of the addresses of names, one a family.
func raceBlocks() []netip.Prefix {
	all := []netip.Prefix{netip.MustParsePrefix("10.220.0.0/16"), netip.MustParsePrefix("fd00:220::/64")}
	if !bed.Options().DualStack {
		return all[:1]
	}
	return all
}
