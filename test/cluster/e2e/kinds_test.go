//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// kindSpecs are about the kinds that policies refer to, and ClusterNetworkPolicy.
func kindSpecs() {
	all := func(ports ...service) []flow { return flows(pods.pods, pods.pods, ports...) }

	It("denies and allows what network sets hold, as they change", Label("short"), func(ctx SpecContext) {
		set := func(nets ...string) string {
			return fmt.Sprintf(`
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkSet
metadata: {name: known-bad, labels: {list: bad}}
spec: {nets: [%s]}
`, strings.Join(nets, ", "))
		}
		apply(ctx, set("10.200.0.1/32", `"fd00:200::1/128"`)+`
---
apiVersion: tierwall.io/v1alpha1
kind: NetworkSet
metadata: {name: bad, namespace: alpha, labels: {list: bad}}
spec: {nets: [`+block(pods.at("beta/web"))+`]}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: known-bad}
spec:
  selector: has(role)
  ingress: [{action: Deny, source: {selector: list == 'bad', namespaceSelector: all() || global()}}, {action: Allow}]
`)
		sources := append([]*place{pods.cp}, pods.pods...)
		expect(ctx, flows(sources, pods.pods, tcp(80)), func(f flow) bool {
			return f.from != pods.cp && !(f.from.name == "beta/web" && f.address.Is4())
		})
		apply(ctx, set(`"0.0.0.0/1"`))
		expect(ctx, flows(sources, pods.pods, tcp(80)), func(f flow) bool { return f.address.Is6() })
		apply(ctx, set())
		expect(ctx, flows(sources, pods.pods, tcp(80)), func(f flow) bool { return f.from.name != "beta/web" || f.address.Is6() })
		kubectl(ctx, "delete", "netset", "-n", "alpha", "bad")
		expectAllowed(ctx, flows(sources, pods.pods, tcp(80)))
	}, SpecTimeout(2*minute))

	It("selects by service account", func(ctx SpecContext) {
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: accounts}
spec:
  serviceAccountSelector: tierwall.io/name == 'default'
  namespaceSelector: team == 'beta'
  ingress:
  - {action: Allow, source: {serviceAccounts: {names: [default]}, namespaceSelector: team == 'beta'}}
  - {action: Deny, source: {serviceAccounts: {names: [default]}}}
`)
		expect(ctx, all(tcp(80), udp(80)), func(f flow) bool {
			return strings.HasPrefix(f.to.name, "alpha/") || strings.HasPrefix(f.from.name, "beta/")
		})
	}, SpecTimeout(minute))

	It("enforces ClusterNetworkPolicy of both tiers around native policies", Label("short"), func(ctx SpecContext) {
		kubectl(ctx, "apply", "-f", clusterPolicyKind(ctx))
		DeferCleanup(func(ctx SpecContext) { kubectl(ctx, "delete", "-f", clusterPolicyKind(ctx)) })
		kubectl(ctx, "wait", "--for=condition=Established", "crd/clusternetworkpolicies.policy.networking.k8s.io", "--timeout=30s")
		apply(ctx, `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: admin}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {role: db}}}}
  ingress:
  - {name: pass, action: Pass, from: [{namespaces: {matchLabels: {team: alpha}}}]}
  - {name: web, action: Accept, from: [{pods: {namespaceSelector: {matchLabels: {team: beta}}, podSelector: {matchLabels: {role: web}}}}]}
  - {name: rest, action: Deny, from: [{namespaces: {}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: alpha}
spec: {podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: baseline}
spec:
  tier: Baseline
  priority: 0
  subject: {namespaces: {}}
  ingress:
  - {name: own, action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {role: api}}}}]}
`)
		want := func(f flow) bool {
			if !strings.HasSuffix(f.to.name, "/db") {
				return !strings.HasSuffix(f.from.name, "/api") // the baseline
			}
			switch {
			case f.from.name == "beta/web":
				return true
			case strings.HasPrefix(f.from.name, "beta/"):
				return false
			case f.to.name == "alpha/db":
				return false // passed on to the native policy
			}
			return f.from.name != "alpha/api" // passed on to the baseline
		}
		expect(ctx, all(tcp(80), udp(80)), want)
		kubectl(ctx, "delete", "clusternetworkpolicy", "admin")
		expect(ctx, all(tcp(80), udp(80)), func(f flow) bool {
			return f.to.name != "alpha/db" && !strings.HasSuffix(f.from.name, "/api")
		})
	}, SpecTimeout(2*minute))
}

// clusterPolicyKind is the file of the definition of ClusterNetworkPolicy, of the
// pinned module.
func clusterPolicyKind(ctx context.Context) string {
	GinkgoHelper()
	c := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/network-policy-api")
	c.Dir = module
	out, err := c.Output()
	Expect(err).NotTo(HaveOccurred())
	return filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "standard", "policy.networking.k8s.io_clusternetworkpolicies.yaml")
}
