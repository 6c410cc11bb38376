//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
)

// ownerSpecs are about who may write policies of which tier.
func ownerSpecs() {
	It("lets two teams write policies of their own tier, and of no other", func(ctx SpecContext) {
		text, err := os.ReadFile(filepath.Join(module, "config", "rbac", "examples", "security-team.yaml"))
		Expect(err).NotTo(HaveOccurred())
		// The other team's is made of the example as its users would.
		apply(ctx, string(text))
		apply(ctx, strings.ReplaceAll(string(text), "security", "platform"))
		apply(ctx, security+"\n---"+strings.NewReplacer("security", "platform", "100", "200").Replace(security))

		policy := func(name, tier, action string) string {
			return `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: ` + name + `}
spec:
  tier: ` + tier + `
  selector: role == 'db'
  types: [Ingress]
  ingress: [{action: ` + action + `, source: {selector: role == 'web'}}, {action: Pass}]
`
		}
		sid := func(manifest string, args ...string) error {
			return asUser(ctx, manifest, "sid", []string{"security-team"}, args...)
		}
		pat := func(manifest string, args ...string) error {
			return asUser(ctx, manifest, "pat", []string{"platform-team"}, args...)
		}
		// What the users apply is removed with the rest, before its tier.
		applied = append(applied, parse(policy("by-sid", "security", "Deny")+"---"+policy("by-pat", "platform", "Deny"))...)
		// The API server takes a moment to learn of a new role.
		Eventually(ctx, func() error { return sid(policy("by-sid", "security", "Deny"), "apply", "-f", "-") }).Should(Succeed())
		Eventually(ctx, func() error { return pat(policy("by-pat", "platform", "Allow"), "apply", "-f", "-") }).Should(Succeed())

		forbidden := func(tier string) types.GomegaMatcher {
			return MatchError(SatisfyAll(ContainSubstring("orbidden"), ContainSubstring(tier)))
		}
		Expect(sid(policy("other", "platform", "Allow"), "apply", "-f", "-")).To(forbidden("platform"))
		Expect(sid(policy("other", "default", "Allow"), "apply", "-f", "-")).To(forbidden("default"))
		Expect(sid(policy("by-pat", "platform", "Deny"), "apply", "-f", "-")).To(forbidden("platform"))
		Expect(pat(policy("by-sid", "security", "Allow"), "apply", "-f", "-")).To(forbidden("security"))
		Expect(pat(policy("by-sid", "platform", "Allow"), "apply", "-f", "-")).To(forbidden("security"), "moved out of its tier")
		Expect(pat(policy("by-pat", "security", "Allow"), "apply", "-f", "-")).To(forbidden("security"), "moved into another's")
		Expect(pat("", "delete", "gnp", "by-sid")).To(forbidden("security"))
		Expect(sid("", "delete", "gnp", "--all")).To(forbidden("platform"))
		Expect(sid("", "patch", "tier", "security", "--type=merge", "-p", `{"spec":{"order":1}}`)).To(forbidden("tiers"))

		By("the earlier tier's owner having the say")
		db := flows(pods.pods, []*place{pods.at("alpha/db"), pods.at("beta/db")}, tcp(80))
		web := func(f flow) bool { return strings.HasSuffix(f.from.name, "/web") }
		Expect(sid(policy("by-sid", "security", "Deny"), "apply", "-f", "-")).To(Succeed())
		expect(ctx, db, func(f flow) bool { return !web(f) })
		Expect(sid("", "delete", "gnp", "by-sid")).To(Succeed())
		expectAllowed(ctx, db)
		Expect(pat(policy("by-pat", "platform", "Deny"), "apply", "-f", "-")).To(Succeed())
		expect(ctx, db, func(f flow) bool { return !web(f) })
	}, SpecTimeout(2*minute))

	It("protects built-in tiers, and tiers with policies, from everybody", func(ctx SpecContext) {
		Expect(asUser(ctx, "", "root", []string{"system:masters"}, "delete", "tier", "default")).To(
			MatchError(ContainSubstring("the built-in tier default cannot be deleted")))
		Expect(asUser(ctx, "", "root", []string{"system:masters"}, "patch", "tier", "kube-admin", "--type=merge", "-p", `{"spec":{"order":5}}`)).To(
			MatchError(ContainSubstring("kube-admin")))
		apply(ctx, security)
		gnp := apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: keeps}
spec: {tier: security, selector: role == 'none'}
`)
		kubectl(ctx, "delete", "tier", "security", "--wait=false")
		Eventually(ctx, func() string { return kubectl(ctx, "get", "tier", "security", "-o", "yaml") }).Should(
			ContainSubstring("GlobalNetworkPolicy/keeps"))
		remove(ctx, gnp...)
		Eventually(ctx, func() string { return kubectl(ctx, "get", "tiers.tierwall.io", "-o", "name") }).ShouldNot(ContainSubstring("security"))
	}, SpecTimeout(minute))
}
