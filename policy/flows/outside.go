package flows

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// set returns a peer that selects a network set by its labels; false: it has none, or is
// gone.
func (r *recommender) set(e *End) (v1alpha1.EntityRule, bool) {
	kind, name, _ := strings.Cut(e.Set, "/")
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		e = &End{Namespace: ns}
		name = rest
	}
	ref := model.Ref{Kind: model.Kind(kind), Namespace: e.Namespace, Name: name}
	labels := r.ix.NetworkSetLabels(ref)
	keys := slices.Sorted(maps.Keys(labels))
	keys = slices.DeleteFunc(keys, func(k string) bool { return strings.Contains(k, ":") || strings.HasPrefix(k, "tierwall.io/") })
	if len(keys) == 0 {
		return v1alpha1.EntityRule{}, false
	}
	p := v1alpha1.EntityRule{Selector: selectorOf(labels, keys)}
	switch {
	case e.Namespace == "":
		p.NamespaceSelector = "global()"
	case e.Namespace != r.namespace:
		p.NamespaceSelector = "kubernetes.io/metadata.name == '" + e.Namespace + "'"
	}
	return p, true
}

// byAddress returns peers by address, one for each family: a node's addresses, those that
// were seen outside, or everything outside the cluster if these are only a sample.
func (r *recommender) byAddress(e *End) (string, []v1alpha1.EntityRule) {
	addrs := e.Addresses
	if e.Kind == EndHost {
		if n := r.ix.Node(strings.TrimPrefix(e.Workload, "Node/")); n != nil {
			addrs = n.Addrs
		}
	}
	if len(addrs) == 0 {
		r.note("%s has no address that is known: there are no rules for it", peerName(e))
		return "", nil
	}
	var out []v1alpha1.EntityRule
	for _, family := range []struct {
		is4 bool
		all string
	}{{true, "0.0.0.0/0"}, {false, "::/0"}} {
		var p v1alpha1.EntityRule
		for _, a := range addrs {
			if a.Is4() == family.is4 {
				p.Nets = append(p.Nets, netip.PrefixFrom(a, a.BitLen()).String())
			}
		}
		if len(p.Nets) == 0 {
			continue
		}
		if e.Kind != EndHost && len(addrs) >= MaxAddresses {
			r.note("%d addresses or more of %s were seen, a sample of them: rules for it allow all addresses outside the cluster", MaxAddresses, peerName(e))
			p.Nets = []string{family.all}
			for _, b := range r.ix.ClusterBlocks() {
				if b.Addr().Is4() == family.is4 && len(p.NotNets) < 256 {
					p.NotNets = append(p.NotNets, b.String())
				}
			}
		}
		slices.Sort(p.NotNets)
		out = append(out, p)
	}
	return fmt.Sprintf("%+v", out), out
}

// ofFamily reports whether a peer can have addresses of an ICMP protocol's family.
func ofFamily(p *v1alpha1.EntityRule, protocol model.Protocol) bool {
	if len(p.Nets) == 0 {
		return true
	}
	b, err := netip.ParsePrefix(p.Nets[0])
	return err == nil && b.Addr().Is4() == (protocol == model.ICMPv4)
}
