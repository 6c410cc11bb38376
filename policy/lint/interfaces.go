package lint

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// interfaces reports host endpoints whose interfaceName does not do what it seems to.
func (l *linter) interfaces() {
	type place struct{ node, name string }
	first := map[place]model.Ref{}
	for _, r := range l.ix.Endpoints() { // sorted: by name within the kind
		e, ok := l.ix.Endpoint(r)
		if !ok || e.Host == nil || e.Host.Interface == "" || e.Node == "" {
			continue
		}
		at := place{e.Node, e.Host.Interface}
		if other, taken := first[at]; taken {
			l.add(Finding{
				Severity: Warning, Code: CodeDuplicateInterface, Object: r, Field: "spec.interfaceName",
				Message: fmt.Sprintf("%s names interface %q of Node/%s too: only the first host endpoint by name guards it, so this one guards nothing", other, at.name, at.node),
				Related: []Related{{Object: other, Field: "spec.interfaceName"}},
			})
			continue
		}
		first[at] = r
		if len(e.Addrs) == 0 {
			l.withoutAddresses(r, e)
		}
		l.expectedAddresses(r, e)
	}
}

// withoutAddresses reports a host endpoint that is guarded by its interface and has no
// address, neither of its own nor of its node.
func (l *linter) withoutAddresses(r model.Ref, e *model.Endpoint) {
	guarded := fmt.Sprintf("interface %q is", e.Host.Interface)
	if e.Host.Interface == "*" {
		guarded = "all interfaces are"
	}
	l.add(Finding{
		Severity: Info, Code: CodeHostUnknownAddresses, Object: r, Field: "spec.expectedIPs",
		Message: fmt.Sprintf("no address of Node/%s is known: %s guarded anyway, but rules that select this host endpoint match no address, and explain, test, diff and lint leave out what the node itself sends and receives", e.Node, guarded),
	})
}

// expectedAddresses reports expected addresses that the interface does not have.
// They narrow nothing: the interface is guarded whatever address packets bear.
func (l *linter) expectedAddresses(r model.Ref, e *model.Endpoint) {
	where, known := l.addressesOf(e)
	if len(known) == 0 {
		return
	}
	var strange []netip.Addr
	for _, a := range e.Addrs {
		if !slices.Contains(known, a) {
			strange = append(strange, a)
		}
	}
	if len(strange) == 0 {
		return
	}
	l.add(Finding{
		Severity: Info, Code: CodeExpectedIPsDisagree, Object: r, Field: "spec.expectedIPs",
		Message: fmt.Sprintf("%s not among the known addresses of %s; they do not narrow down what is guarded: interfaceName decides, whatever addresses packets have", some(strange), where),
	})
}

// addressesOf returns the addresses that a host endpoint's interface is known to
// have: from the node's kernel, else all of the Node object.
func (l *linter) addressesOf(e *model.Endpoint) (where string, known []netip.Addr) {
	if links := l.ix.Links(e.Node); links != nil {
		for _, a := range links.Addrs {
			if e.Host.Interface == "*" || a.Interface == e.Host.Interface {
				known = append(known, a.Addr)
			}
		}
		if e.Host.Interface != "*" {
			return fmt.Sprintf("interface %q of Node/%s", e.Host.Interface, e.Node), known
		}
	} else if n := l.ix.Node(e.Node); n != nil {
		for _, a := range n.Addrs {
			known = append(known, a.Unmap())
		}
	}
	return "Node/" + e.Node, known
}
