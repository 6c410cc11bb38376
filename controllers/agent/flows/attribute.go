package flows

import (
	"net/netip"
	"unique"

	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/policy/workload"
)

// flow is all that bears on what policy decides about a connection: connections of one
// flow are alike. It has no pointers, so that the garbage collector passes by a million
// of them.
type flow struct {
	// src and dst are what policies see, after destination NAT and before source NAT;
	// named is what the client connected to.
	src, dst, named             [16]byte
	srcPort, dstPort, namedPort uint16
	protocol                    model.Protocol
	icmpType, icmpCode          uint8
	srcFour, dstFour, namedFour bool
}

// flowOf is the flow of a connection. The port of the source is left out where no rule
// asks for it.
func flowOf(e *events.Event, ports *sourcePorts) flow {
	o, r := &e.Original, &e.Reply
	f := flow{
		src: o.Src.As16(), dst: r.Src.As16(), named: o.Dst.As16(), srcFour: o.Src.Is4(), dstFour: r.Src.Is4(), namedFour: o.Dst.Is4(),
		protocol: o.Protocol, icmpType: o.Type, icmpCode: o.Code,
	}
	if o.Protocol.HasPorts() {
		f.srcPort, f.dstPort, f.namedPort = ports.standIn(o.SrcPort), r.SrcPort, o.DstPort
	}
	return f
}

func addr(b *[16]byte, four bool) netip.Addr {
	a := netip.AddrFrom16(*b)
	if four {
		return a.Unmap()
	}
	return a
}

// after is the flow as policies see it, before as it was sent.
func (f *flow) after() model.Flow {
	return model.Flow{
		Src: addr(&f.src, f.srcFour), Dst: addr(&f.dst, f.dstFour), Protocol: f.protocol, SrcPort: f.srcPort, DstPort: f.dstPort,
		ICMPType: f.icmpType, ICMPCode: f.icmpCode,
	}
}

func (f *flow) before() model.Flow {
	out := f.after()
	out.Dst, out.DstPort = addr(&f.named, f.namedFour), f.namedPort
	return out
}

// translated reports whether the destination was.
func (f *flow) translated() bool { return f.named != f.dst || f.namedPort != f.dstPort }

// endKey is an End without what differs between the flows of a record.
type endKey struct {
	kind                             flows.EndKind
	namespace, workload, set, domain string
}

// verdictKey is a model.Verdict that can be compared.
type verdictKey struct {
	known, audited bool
	verdict, audit model.Verdict // without Endpoint and Audit
}

// decidedKey is a flows.Decided that can be compared, without its generation.
type decidedKey struct {
	action          model.Action
	egress, ingress verdictKey
}

type decided = unique.Handle[decidedKey]

// identity is what makes connections those of one record, apart from what decided.
type identity struct {
	src, dst           unique.Handle[endKey]
	service            unique.Handle[string]
	protocol           model.Protocol
	icmpType, icmpCode uint8
	port               uint16
}

// attribution is what the index says of a flow.
type attribution struct {
	identity
	decided
	srcNode, dstNode string
}

// attributor asks the index.
type attributor struct {
	ix       *index.Index
	node     string
	services *services
}

// attribute asks the index about a flow. The decision is that of verdict.DecideTranslatedAt
// for this node, whatever it is asked with: so no record disagrees with explain.
func (a *attributor) attribute(f *flow) attribution {
	after := f.after()
	d := verdict.DecideTranslatedAt(a.ix, a.node, f.before(), after)
	egress, hasEgress := d.Deciding(model.Egress)
	ingress, hasIngress := d.Deciding(model.Ingress)
	key := decidedKey{action: d.Action}
	var rules [2]*index.Rule
	if hasEgress {
		key.egress, rules[0] = keyOf(egress), a.rule(&egress, &after)
	}
	if hasIngress {
		key.ingress, rules[1] = keyOf(ingress), a.rule(&ingress, &after)
	}
	src, srcNode := a.end(after.Src, rules[:], false)
	dst, dstNode := a.end(after.Dst, rules[:], true)
	out := attribution{
		identity: identity{
			src: unique.Make(src), dst: unique.Make(dst), protocol: f.protocol, port: f.dstPort, icmpType: f.icmpType, icmpCode: f.icmpCode,
		},
		decided: unique.Make(key), srcNode: srcNode, dstNode: dstNode,
	}
	service := ""
	if f.translated() {
		service = a.services.find(addr(&f.named, f.namedFour), f.protocol, f.namedPort)
	}
	out.service = unique.Make(service)
	return out
}

// end is what an address belongs to: a pod's workload, a node, a network set or a name that
// a rule that decided names, or nothing that is known.
func (a *attributor) end(at netip.Addr, rules []*index.Rule, destination bool) (k endKey, node string) {
	e := verdict.EndOf(a.ix, at)
	if ref := e.Pod(); ref != (model.Ref{}) {
		if pod, ok := ref.GhostOf(); ok {
			ref = pod
		}
		owner := ref
		if p, ok := a.ix.Endpoint(ref); ok {
			owner = workload.OwnerOf(ref.Namespace, ref.Name, p.Labels)
		}
		return endKey{kind: flows.EndPod, namespace: ref.Namespace, workload: string(owner.Kind) + "/" + owner.Name}, e.Node()
	}
	if e.IsHost() {
		return endKey{kind: flows.EndHost, workload: string(model.KindNode) + "/" + e.Node()}, e.Node()
	}
	for _, r := range rules {
		if r == nil {
			continue
		}
		side := &r.Source
		if destination {
			side = &r.Destination
		}
		if s := side.Selector; s != nil {
			if refs := s.NetworkSetsOf(at); len(refs) > 0 {
				return endKey{kind: flows.EndSet, namespace: refs[0].Namespace, set: string(refs[0].Kind) + "/" + refs[0].Name}, ""
			}
		}
		for _, s := range []*index.Set{side.Domains, side.Selector} {
			if s == nil || !s.ByName() {
				continue
			}
			if names := s.Bringing(at); len(names) > 0 {
				return endKey{kind: flows.EndDomain, domain: names[0].String()}, ""
			}
		}
	}
	return endKey{kind: flows.EndOutside}, ""
}

// rule is the rule by which a verdict was given; nil if it was not by a rule.
func (a *attributor) rule(v *model.Verdict, f *model.Flow) *index.Rule {
	e := a.ix.Effective(v.Endpoint)
	if e == nil || v.Rule < 0 {
		return nil
	}
	chain := e.Stage(v.Stage, v.Direction).Chain
	for i := range chain {
		if chain[i].Tier.Name != v.Tier {
			continue
		}
		for _, p := range chain[i].Policies {
			if p.Ref != v.Policy {
				continue
			}
			rules := p.Resolved(v.Direction)
			for j := range rules {
				if model.RuleIndex(rules[j].Index) == v.Rule && verdict.Mismatch(&rules[j], f) == verdict.Matched {
					return &rules[j]
				}
			}
		}
	}
	return nil
}

func keyOf(v model.Verdict) verdictKey {
	k := verdictKey{known: true}
	if v.Audit != nil {
		k.audited, k.audit = true, *v.Audit
		k.audit.Endpoint, k.audit.Audit = model.Ref{}, nil
	}
	v.Endpoint, v.Audit = model.Ref{}, nil
	k.verdict = v
	return k
}

// verdictOf is the reverse of keyOf.
func verdictOf(k *verdictKey) *model.Verdict {
	if !k.known {
		return nil
	}
	v := k.verdict
	if k.audited {
		audit := k.audit
		v.Audit = &audit
	}
	return &v
}

// decidedOf is a decision as records have it.
func decidedOf(d decided, generation uint64) flows.Decided {
	k := d.Value()
	return flows.Decided{Generation: generation, Action: k.action, Egress: verdictOf(&k.egress), Ingress: verdictOf(&k.ingress)}
}
