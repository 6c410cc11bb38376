//go:build e2e

package e2e

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/test/cluster/install"
	"github.com/tierwall/tierwall/test/cluster/probe"
)

// security is a tier before all native policies.
const security = `
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: security}
spec: {order: 100}
`

// tierSpecs are about GlobalNetworkPolicy and Tierwall's NetworkPolicy.
func tierSpecs() {
	all := func(ports ...service) []flow { return flows(pods.pods, pods.pods, ports...) }

	It("evaluates tiers, orders, Deny and Pass before native policies", Label("short"), func(ctx SpecContext) {
		apply(ctx, security+`
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: quarantine}
spec:
  tier: security
  order: 10
  selector: role == 'db'
  types: [Ingress]
  ingress:
  - {action: Deny, source: {selector: role == 'web', namespaceSelector: team == 'beta'}}
  - {action: Allow, protocol: TCP, source: {selector: role == 'web'}, destination: {ports: [80]}}
  - {action: Pass}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: alpha}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: beta}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {role: web}}}]}]
`)
		native := func(f flow) bool {
			if f.to.name == "beta/db" {
				return strings.HasSuffix(f.from.name, "/web")
			}
			return strings.HasPrefix(f.to.name, "beta/")
		}
		quarantined := func(f flow) bool {
			switch {
			case !strings.HasSuffix(f.to.name, "/db"):
				return native(f)
			case f.from.name == "beta/web":
				return false
			case f.from.name == "alpha/web" && f.network == probe.TCP && f.port == 80:
				return true
			}
			return native(f)
		}
		expect(ctx, all(tcp(80), tcp(81), udp(80)), quarantined)

		By("an earlier policy of the same tier")
		first := apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: first}
spec:
  tier: security
  order: 5
  selector: role == 'db'
  ingress:
  - {action: Deny, source: {selector: role == 'web' && team == 'alpha'}}
  - {action: Pass, source: {selector: role == 'web' && team == 'beta'}}
`)
		expect(ctx, all(tcp(80), udp(80)), func(f flow) bool {
			switch {
			case strings.HasSuffix(f.to.name, "/db") && f.from.name == "alpha/web":
				return false
			case f.from.name == "beta/web":
				return native(f) // passed on before the tier could deny it
			}
			return quarantined(f)
		})
		remove(ctx, first...)
		expect(ctx, all(tcp(80), udp(80)), quarantined)
	}, SpecTimeout(2*minute))

	It("denies at the end of a tier, unless the tier says Pass", func(ctx SpecContext) {
		apply(ctx, security+`
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: some}
spec:
  tier: security
  selector: team == 'alpha'
  types: [Egress]
  egress: [{action: Allow, destination: {selector: role == 'api'}}]
`)
		inward := func(f flow) bool {
			return !strings.HasPrefix(f.from.name, "alpha/") || strings.HasSuffix(f.to.name, "/api")
		}
		expect(ctx, all(tcp(80), udp(80)), inward)
		apply(ctx, strings.Replace(security, "order: 100", "order: 100, defaultAction: Pass", 1))
		expectAllowed(ctx, all(tcp(80), udp(80)))
		apply(ctx, security)
		expect(ctx, all(tcp(80), udp(80)), inward)
	}, SpecTimeout(2*minute))

	It("lets a policy of tierwall.io in a namespace select peers as it says", Label("short"), func(ctx SpecContext) {
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: NetworkPolicy
metadata: {name: own, namespace: beta}
spec:
  order: 500
  selector: role in {'api', 'db'}
  types: [Ingress, Egress]
  ingress:
  - {action: Deny, protocol: TCP, destination: {ports: ["81:90"]}}
  - {action: Allow, source: {selector: role == 'web'}}
  - {action: Allow, protocol: UDP, source: {namespaceSelector: team == 'alpha', selector: role == 'web'}, destination: {ports: [dgram]}}
  egress:
  - {action: Allow, destination: {notSelector: has(role)}}
  - {action: Allow, destination: {namespaceSelector: team == 'alpha'}}
`)
		governed := func(p *place) bool { return p.name == "beta/api" || p.name == "beta/db" }
		expect(ctx, all(tcp(80), tcp(81), udp(80)), func(f flow) bool {
			if governed(f.from) && !strings.HasPrefix(f.to.name, "alpha/") {
				return false
			}
			if !governed(f.to) {
				return true
			}
			return f.port != 81 && (f.from.name == "beta/web" || f.from.name == "alpha/web" && f.network == probe.UDP)
		})
		expectAllowed(ctx, flows([]*place{pods.at("beta/db")}, pods.hosts, tcp(hostPort)))
	}, SpecTimeout(2*minute))

	It("writes a line for a Log rule in the agent's log of the node that saw the packet", func(ctx SpecContext) {
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: logged}
spec:
  selector: team == 'alpha' && role == 'db'
  ingress:
  - {action: Log, protocol: TCP, source: {selector: role == 'web' && team == 'beta'}}
  - {action: Deny, source: {selector: role == 'web' && team == 'beta'}}
  - {action: Allow}
`)
		db := pods.at("alpha/db")
		expectDenied(ctx, flows([]*place{pods.at("beta/web")}, []*place{db}, tcp(80)))
		expectAllowed(ctx, flows([]*place{pods.at("alpha/web")}, []*place{db}, tcp(80)))
		agent := agentOf(ctx, db.node)
		for _, a := range db.addresses {
			Eventually(ctx, func() string {
				return kubectl(ctx, "logs", "-n", install.Namespace, agent.Name)
			}).Should(MatchRegexp(`"msg":"packet","node":"%s",.*"policy":"GlobalNetworkPolicy/logged","direction":"ingress","rule":"0".*`+
				`"sourceName":"Pod/beta/web".*"destination":"%s","destinationName":"Pod/alpha/db"`, db.node, a))
		}
		Expect(kubectl(ctx, "logs", "-n", install.Namespace, agent.Name)).NotTo(
			MatchRegexp(`"policy":"GlobalNetworkPolicy/logged".*"sourceName":"Pod/alpha/web"`))
	}, SpecTimeout(minute))

	It("changes nothing while a policy is on trial", Label("short"), func(ctx SpecContext) {
		trial := `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: trial}
spec:
  enforcement: Audit
  selector: team == 'alpha'
  ingress: [{action: Deny, source: {selector: team == 'beta'}}, {action: Allow}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: trial, namespace: beta, annotations: {tierwall.io/enforcement: Audit}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`
		apply(ctx, trial)
		Eventually(ctx, func() string { return kubectl(ctx, "get", "gnp", "trial") }).Should(SatisfyAll(
			ContainSubstring("Audit"), ContainSubstring(allNodes())))
		expectAllowed(ctx, all(tcp(80), udp(80)))

		By("enforcing it")
		apply(ctx, strings.ReplaceAll(strings.ReplaceAll(trial, "enforcement: Audit", "enforcement: Enforced"), "  tierwall.io/enforcement: Audit", ""))
		kubectl(ctx, "annotate", "netpol", "-n", "beta", "trial", "tierwall.io/enforcement-")
		expect(ctx, all(tcp(80), udp(80)), func(f flow) bool {
			return strings.HasPrefix(f.from.name, "alpha/") && strings.HasPrefix(f.to.name, "alpha/")
		})
	}, SpecTimeout(2*minute))
}

// agentOf is the pod of a node's agent.
func agentOf(ctx context.Context, node string) *corev1.Pod {
	GinkgoHelper()
	var l corev1.PodList
	Expect(admin.List(ctx, &l, client.InNamespace(install.Namespace), client.MatchingLabels{"app.kubernetes.io/component": "agent"})).To(Succeed())
	for i := range l.Items {
		if p := &l.Items[i]; p.Spec.NodeName == node && p.DeletionTimestamp == nil {
			return p
		}
	}
	Fail("no agent on " + node)
	return nil
}
