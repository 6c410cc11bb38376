package builtin_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/builtin"
)

// The rules of the Tier's CustomResourceDefinition say the same.
func TestDefinition(t *testing.T) {
	text, err := os.ReadFile("../v1alpha1/tier_types.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range builtin.Tiers() {
		action := "Deny"
		if b.Pass {
			action = "Pass"
		}
		rule := fmt.Sprintf("self.metadata.name != '%s' || (self.?spec.?order.orValue(0.0) == %.1f && self.?spec.?defaultAction.orValue('') == '%s')", b.Name, b.Order, action)
		if !strings.Contains(string(text), rule) {
			t.Errorf("tier %s: no rule %s", b.Name, rule)
		}
	}
	if builtin.IsTier("security") || !builtin.IsTier(builtin.KubeAdmin) {
		t.Error("IsTier")
	}
}
