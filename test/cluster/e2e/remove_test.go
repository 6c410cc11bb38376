//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/cluster/install"
)

// removeSpecs uninstall Tierwall as docs/upgrade.md says.
func removeSpecs() {
	It("leaves no trace in any kernel, and no object", func(ctx SpecContext) {
		kubectl(ctx, "patch", "tierwall", "default", "--type=merge", "-p", `{"spec":{"autoHostEndpoints":true}}`)
		_, err := install.Kubectl(ctx, bed, how, security+`
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: left}
spec: {tier: security, selector: has(role), ingress: [{action: Log}, {action: Deny}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: native, namespace: beta}
spec: {podSelector: {}, policyTypes: [Ingress]}
`, "apply", "-f", "-")
		Expect(err).NotTo(HaveOccurred())
		expectDenied(ctx, flows(pods.pods, pods.pods, tcp(80)))

		start := time.Now()
		Expect(install.Remove(ctx, bed, how)).To(Succeed())
		AddReportEntry("removal", time.Since(start).Round(100*time.Millisecond).String())
		expectAllowed(ctx, flows(everywhere(), pods.pods, tcp(80), udp(80)))
		expectAllowed(ctx, flows(everywhere(), pods.hosts, tcp(hostPort)))
		kubectl(ctx, "delete", "netpol", "-n", "beta", "native")

		Eventually(ctx, func() []string { return findTraces(ctx).ofTierwall() }).Should(BeEmpty())
		after := findTraces(ctx)
		Expect(after.kernels).To(Equal(before.kernels))
	}, SpecTimeout(4*minute))
}

// traces are what Tierwall could leave behind.
type traces struct {
	// kernels are, by node, the names of tables, chains and sets, of links, and the
	// rules of policy routing. Those of pods and Services are left out.
	kernels map[string][]string
	// objects of all kinds that are or mention Tierwall, as RESOURCE/NAMESPACE/NAME.
	objects []string
}

// ofTierwall are the traces that bear its name.
func (t traces) ofTierwall() []string {
	all := slices.Clone(t.objects)
	for node, lines := range t.kernels {
		for _, l := range lines {
			if ofTierwall(l) {
				all = append(all, node+": "+l)
			}
		}
	}
	slices.Sort(all)
	return all
}

// ofTierwall knows its names in a kernel: of the table, of chains and of ipsets.
func ofTierwall(line string) bool {
	return strings.Contains(line, "tierwall") || strings.Contains(line, "TW-") || strings.Contains(line, "tw-")
}

// findTraces looks.
func findTraces(ctx context.Context) traces {
	GinkgoHelper()
	t := traces{kernels: map[string][]string{}}
	for _, node := range bed.Nodes() {
		t.kernels[node] = kernelOf(ctx, node)
	}
	kinds := strings.Fields(kubectl(ctx, "api-resources", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return strings.HasPrefix(k, "events") })
	out := kubectl(ctx, "get", strings.Join(kinds, ","), "-A", "--ignore-not-found", "-o",
		`go-template={{range .items}}{{.kind}}/{{with .metadata.namespace}}{{.}}/{{end}}{{.metadata.name}} {{with .metadata.labels}}{{.}}{{end}}{{with .metadata.finalizers}}{{.}}{{end}}{{"\n"}}{{end}}`)
	for line := range strings.Lines(out) {
		if strings.Contains(line, "tierwall") {
			t.objects = append(t.objects, strings.TrimSpace(line))
		}
	}
	return t
}

// kernelOf lists what programs other than kube-proxy and the pods' network have
// in a node's kernel.
func kernelOf(ctx context.Context, node string) []string {
	GinkgoHelper()
	var all []string
	for _, argv := range [][]string{
		{"nft", "list", "tables"}, {"ipset", "list", "-name"}, {"ip", "rule"}, {"ip", "-6", "rule"}, {"ip", "-o", "link"},
		{"iptables-save"}, {"ip6tables-save"}, {"iptables-legacy-save"}, {"ip6tables-legacy-save"},
	} {
		out, err := run(ctx, node, argv...)
		Expect(err).NotTo(HaveOccurred())
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			if fields := strings.Fields(line); len(argv) > 2 && argv[1] == "-o" && len(fields) > 1 {
				line, _, _ = strings.Cut(fields[1], "@")
				if strings.HasPrefix(line, "veth") {
					continue // a pod's
				}
			}
			// Tables and chains; what is in them changes with Services.
			rules := strings.HasSuffix(argv[0], "-save")
			if rules && !strings.HasPrefix(line, "*") && !ofTierwall(line) {
				continue
			}
			all = append(all, fmt.Sprintf("%s: %s", argv[0], line))
		}
	}
	slices.Sort(all)
	return all
}
