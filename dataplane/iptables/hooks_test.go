package iptables

import (
	"testing"

	"github.com/tierwall/tierwall/dataplane/base"
)

// Only rules that part by interface and end a packet's way through the chain may be
// written as one chain that each interface leads to.
func TestByLinkAndGone(t *testing.T) {
	for _, c := range []struct {
		name string
		rule base.Rule
		want bool
	}{
		{"by the interface that a packet comes by", base.Rule{If: []base.Test{{Kind: base.FromLink}}, Then: base.Accept}, true},
		{"by the interface that it leaves by", base.Rule{If: []base.Test{{Kind: base.Established}, {Kind: base.ToLink}}, Then: base.Goto}, true},
		{"by something else", base.Rule{If: []base.Test{{Kind: base.Established}}, Then: base.Accept}, false},
		{"by nothing", base.Rule{Then: base.Accept}, false},
		{"the packet goes on with the next rule", base.Rule{If: []base.Test{{Kind: base.FromLink}}, Then: base.Renew}, false},
	} {
		if got := byLinkAndGone(&c.rule); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
