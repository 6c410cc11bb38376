package lint

import (
	"fmt"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// clashes reports addresses that pods of two nodes have: one of them has an address
// that is not its own. On the node of each, that pod keeps it.
func (l *linter) clashes() {
	type holder struct {
		ref  model.Ref
		node string
	}
	first := map[netip.Addr]holder{}
	for _, r := range l.ix.Endpoints() { // sorted by name
		e, ok := l.ix.Endpoint(r)
		if !ok || r.Kind != model.KindPod {
			continue
		}
		for _, a := range e.Addrs {
			other, taken := first[a]
			switch {
			case !taken:
				first[a] = holder{r, e.Node}
			case other.node != e.Node:
				l.add(Finding{
					Severity: Warning, Code: CodeAddressClash, Object: r, Field: "status.podIPs",
					Message: fmt.Sprintf("%s is also an address of %s on Node/%s: each pod keeps it on its own node, and on other nodes rules that match either pod by labels match the address", a, other.ref, other.node),
					Related: []Related{{Object: other.ref, Field: "status.podIPs"}},
				})
			}
		}
	}
}
