package install

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/tierwall/tierwall/controllers/operator"
)

// TestUnread holds docs/security.md to it that no part of Tierwall reads what a tenant
// may write and the page says has no part in anybody's policy: neither the agents nor the
// manager have the right to. Of what others may read in one namespace, tierwall-system,
// tenants write nothing.
func TestUnread(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	rules := operator.AgentRules()
	objects, err := Render("config/default")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() == "ClusterRole" && o.GetName() == operator.ManagerName {
			var r rbacv1.ClusterRole
			convert(t, o, &r)
			rules = append(rules, r.Rules...)
		}
	}
	read := map[string]bool{}
	for _, r := range rules {
		if !slices.ContainsFunc(r.Verbs, func(v string) bool { return v == "get" || v == "list" || v == "watch" || v == "*" }) {
			continue
		}
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				read[strings.TrimSuffix(resource+"."+group, ".")] = true
			}
		}
	}
	if !read["pods"] || !read["validatingwebhookconfigurations.admissionregistration.k8s.io"] {
		t.Fatalf("what agents and manager read: %v", read)
	}
	names := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || !strings.Contains(line, "`TestUnread`") {
			continue
		}
		first, _, _ := strings.Cut(line[2:], " |")
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
			if names++; read[name[1]] {
				t.Errorf("%s is read", name[1])
			}
		}
	}
	if names < 30 {
		t.Errorf("found %d resources in docs/security.md", names)
	}
}
