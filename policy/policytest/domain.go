package policytest

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
	"github.com/tierwall/tierwall/policy/nearest"
)

// toDomain resolves a case that names a DNS name: what is sent to each of its addresses
// that the sender can reach by an address of the same family.
func (w *World) toDomain(c *v1alpha1.PolicyTestCase) (Attempt, error) {
	p, err := names.ParsePattern(c.To.Domain)
	if err != nil {
		return Attempt{}, &FieldError{"to.domain", err.Error()}
	}
	all := w.book.Addrs(p.String())
	if len(all) == 0 {
		return Attempt{}, &FieldError{"to.domain", c.To.Domain + ": there is no DNS answer for it; want DNSAnswers that have it" + nearest.Clause(p.String(), w.book.Names())}
	}
	protocol, err := protocolOf(&c.To)
	if err != nil {
		return Attempt{}, err
	}
	from, err := w.party(&c.From, "from")
	if err != nil {
		return Attempt{}, err
	}
	if _, _, err := chooseFamily(&c.To, protocol, from, party{addrs: all}); err != nil {
		return Attempt{}, err
	}
	a := Attempt{Domain: p.String(), direct: true}
	for _, addr := range all {
		version := 6
		if addr.Is4() {
			version = 4
		}
		wrong := protocol == model.ICMPv4 && version == 6 || protocol == model.ICMPv6 && version == 4
		if wrong || c.To.IPVersion != nil && *c.To.IPVersion != version || !firstOf(from.addrs, version).IsValid() {
			continue
		}
		sent := *c
		sent.To.PolicyTestPeer = v1alpha1.PolicyTestPeer{IP: addr.String()}
		f, err := w.packet(&sent)
		if err != nil {
			return Attempt{}, err
		}
		a.Targets = append(a.Targets, f)
	}
	a.Flow = a.Targets[0]
	return a, nil
}

// Sources returns the DNS answers that have brought an address for one of some names.
func (w *World) Sources(a netip.Addr, patterns []names.Pattern) []answers.Answer {
	return w.book.Sources(a, slices.Clone(patterns))
}

// NodeOf returns the name of the node that a peer is on, empty for one that is on none.
// A workload is where its first pod is.
func (w *World) NodeOf(p *v1alpha1.PolicyTestPeer) string {
	ref := model.Ref{Kind: model.KindHostEndpoint, Name: p.HostEndpoint}
	switch {
	case p.Node != "":
		return p.Node
	case p.Pod != "":
		named, ok := podRef(p.Pod)
		if !ok {
			return ""
		}
		var why string
		if ref, why = w.Pod(named); why != "" {
			return ""
		}
		if pod := w.pods[ref]; pod != nil {
			return pod.Spec.NodeName
		}
	case p.IP != "":
		a, err := netip.ParseAddr(p.IP)
		if err != nil {
			return ""
		}
		if n := w.Index.NodeOf(a.Unmap()); n != nil {
			return n.Name
		}
		ref = w.Index.Owner(a.Unmap())
	}
	e, _ := w.Index.Endpoint(ref)
	if e == nil {
		return ""
	}
	return e.Node
}
