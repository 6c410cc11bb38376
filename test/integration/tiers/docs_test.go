package tiers

import (
	"os"
	"path/filepath"
	"regexp"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// manifest is an object in docs/tier-ownership.md, the user who applies it there,
// and whether he is refused.
var manifest = regexp.MustCompile("(?s)<!-- as (\\w+)(: refused)? -->\n```yaml\n(.*?)```")

var _ = Describe("docs/tier-ownership.md", func() {
	It("says who may apply its objects", func() {
		data, err := os.ReadFile(filepath.Join(server.Root(), "docs", "tier-ownership.md"))
		Expect(err).NotTo(HaveOccurred())
		// The page's users: pat has the example's role in namespace shop.
		bind("shop", "patricia", "tier-security-owner")
		clients := map[string]client.Client{"admin": admin, "sid": as("sid", "security-team"), "pat": as("patricia")}
		found := manifest.FindAllStringSubmatch(string(data), -1)
		Expect(len(found)).To(BeNumerically(">=", 3))
		for _, m := range found {
			o := &unstructured.Unstructured{}
			Expect(yaml.UnmarshalStrict([]byte(m[3]), &o.Object)).To(Succeed())
			Expect(clients).To(HaveKey(m[1]))
			want := yes
			if m[2] != "" {
				want = noTier
			}
			// A binding takes the server a moment.
			Eventually(func() string {
				return outcome(clients[m[1]].Apply(ctx(), applied(o.Object), client.FieldOwner("docs"), client.ForceOwnership, client.DryRunAll))
			}).Should(Equal(want), "%s applies %s", m[1], o.GetName())
		}
	})
})
