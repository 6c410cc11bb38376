package tiers

import (
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// maxNamed is how many policies a message names.
const maxNamed = 10

// message names the policies that a tier waits for, in the given order.
func message(inside []model.Ref) string {
	noun := "policies"
	if len(inside) == 1 {
		noun = "policy"
	}
	names := make([]string, 0, maxNamed)
	for _, r := range inside[:min(len(inside), maxNamed)] {
		names = append(names, r.String())
	}
	text := fmt.Sprintf("waits for %d %s to be deleted or moved to another tier: %s", len(inside), noun, strings.Join(names, ", "))
	if more := len(inside) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
