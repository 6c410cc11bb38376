package iptables

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
)

// TestElementsOf changes a set of both families that rules ask for in both, or in one.
func TestElementsOf(t *testing.T) {
	list := func(text string) (out []index.Member) {
		for _, p := range strings.Fields(text) {
			out = append(out, index.Member{Prefix: netip.MustParsePrefix(p)})
		}
		return out
	}
	const v4, v6 = dataplane.IPv4, dataplane.IPv6
	for _, c := range []struct {
		name           string
		asked          []dataplane.Family
		change         dataplane.SetChange
		added, removed string
		want           string // family, elements that come and go
		ok             bool
	}{
		{"of one family", []dataplane.Family{v4, v6}, dataplane.SetChange{}, "10.0.0.2/32", "", "v4 +1 -0;", true},
		{"of the other family", []dataplane.Family{v4, v6}, dataplane.SetChange{}, "2001:db8::2/128", "2001:db8::1/128", "v6 +1 -1;", true},
		{"of both", []dataplane.Family{v4, v6}, dataplane.SetChange{}, "10.0.0.2/32 2001:db8::2/128", "10.0.0.1/32", "v4 +1 -1; v6 +1 -0;", true},
		{"of both, of which rules ask for the second", []dataplane.Family{v6}, dataplane.SetChange{}, "10.0.0.2/32 2001:db8::2/128", "", "v6 +1 -0;", true},
		{"what no rule asks for", nil, dataplane.SetChange{}, "10.0.0.2/32", "", "", true},
		{"a block among addresses", []dataplane.Family{v4, v6}, dataplane.SetChange{}, "10.1.0.0/24", "", "", false},
		{"half of all addresses", []dataplane.Family{v4, v6}, dataplane.SetChange{}, "0.0.0.0/1", "", "", false},
		{"a new set", []dataplane.Family{v4, v6}, dataplane.SetChange{New: true}, "", "", "", false},
		{"a set that is gone", []dataplane.Family{v4, v6}, dataplane.SetChange{Gone: true}, "", "", "", false},
	} {
		m := &members{hash: "hash"}
		m.take(list("10.0.0.1/32 2001:db8::1/128"))
		b := &Backend{memory: &memory{members: map[string]*members{"known": m}}, have: &ruleset{sets: map[string]*ipset{}}}
		for _, f := range c.asked {
			key := fmt.Sprintf("%d%s%s", f, "a", m.hash)
			b.have.sets[key] = &ipset{key: key, family: f, kind: typeAddrs, elems: m.elems[familyIndex(f)]}
		}
		c.change.Set = &dataplane.Set{ID: "known", Kind: index.SetAddrs}
		c.change.Added, c.change.Removed = list(c.added), list(c.removed)
		change, ok := b.elementsOf(&c.change)
		var got []string
		for i, family := range []string{"v4", "v6"} {
			if n, m := len(change.come[i]), len(change.gone[i]); ok && change.sets[i] != nil && n+m > 0 {
				got = append(got, fmt.Sprintf("%s +%d -%d;", family, n, m))
			}
		}
		if strings.Join(got, " ") != c.want || ok != c.ok {
			t.Errorf("%s: %q, %t", c.name, got, ok)
		}
	}
}
