package base

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/policy/model"
)

// hostStage is one of the points at which a host endpoint's policy meets packets.
type hostStage struct {
	name  string
	stage model.Stage
	dir   model.Direction
}

var (
	rawIn      = hostStage{"ri", model.StageUntracked, model.Ingress}
	rawOut     = hostStage{"ro", model.StageUntracked, model.Egress}
	preDNAT    = hostStage{"pd", model.StagePreDNAT, model.Ingress}
	hostIn     = hostStage{"in", model.StageHost, model.Ingress}
	hostOut    = hostStage{"out", model.StageHost, model.Egress}
	hostStages = []hostStage{rawIn, rawOut, preDNAT, hostIn, hostOut}
)

// chainOf is the name of a host endpoint's chain at a stage.
func chainOf(h *dataplane.Endpoint, stage string) string {
	return "h-" + naming.Hash(h.Ref.Name)[:10] + "-" + stage
}

func (b *builder) program(h *dataplane.Endpoint, s model.Stage, dir model.Direction) *dataplane.Program {
	if h.Policy == nil {
		return nil
	}
	return h.Policy.Program(s, dir, b.family)
}

// hostChains writes the host endpoints' chains at a stage: they end in a verdict,
// but for those before routing, where what no rule decides goes on.
func (b *builder) hostChains(stage model.Stage) {
	for i := range b.hosts {
		h := &b.hosts[i]
		for _, s := range hostStages {
			if s.stage != stage {
				continue
			}
			p, text := b.program(h, s.stage, s.dir), h.Ref.String()
			switch {
			case p == nil && stage == model.StageHost:
				b.chain(chainOf(h, s.name), text, Rule{Then: Drop, Comment: "no policy is known"})
			case p == nil:
				b.chain(chainOf(h, s.name), text)
			case stage == model.StageHost:
				b.chain(chainOf(h, s.name), text, Rule{Then: Run, Program: p}, Rule{Then: Accept})
			default:
				allowed := "allowed-early"
				if stage == model.StageUntracked {
					allowed = "allowed-untracked"
				}
				b.chain(chainOf(h, s.name), text, Rule{Then: ClearMark, Bits: Accepted}, Rule{Then: Run, Program: p, Spare: sparingOfHost(b.settings, h, s.stage, s.dir)},
					Rule{If: where(marked(Accepted)), Then: Goto, Chain: allowed})
			}
		}
	}
}

// enterForward leads to a host endpoint's policy for forwarded packets; none if
// it has no such policy. A host endpoint that guards the interface without one
// still keeps the packet from others.
func (b *builder) enterForward(h *dataplane.Endpoint, dir model.Direction, tests ...Test) []Rule {
	p := b.program(h, model.StageForward, dir)
	if p == nil {
		return []Rule{{If: tests, Then: Return, Comment: h.Ref.String()}}
	}
	name := chainOf(h, "fo")
	if dir == model.Ingress {
		name = chainOf(h, "fi")
	}
	b.chain(name, h.Ref.String()+", applyOnForward", Rule{Then: Run, Program: p, Spare: sparingOfHost(b.settings, h, model.StageForward, dir)})
	return []Rule{{If: tests, Then: Goto, Chain: name, Comment: h.Ref.String()}}
}

// dispatch returns the rules that lead to the host endpoint that guards a packet
// of the node: the one that names its interface; else the one without an
// interface that lists the node's address; else that of all interfaces.
func (b *builder) dispatch(s hostStage) []Rule {
	iface, addr := InIs, DstNet
	if s.dir == model.Egress {
		iface, addr = OutIs, SrcNet
	}
	lead := func(h *dataplane.Endpoint, tests ...Test) Rule {
		return Rule{If: tests, Then: Goto, Chain: chainOf(h, s.name), Comment: h.Ref.String()}
	}
	var rules []Rule
	for _, n := range b.hosts.Named() {
		rules = append(rules, lead(n.Endpoint, by(iface, n.Interface)))
	}
	if s == hostOut {
		// What left for lo and was translated to an address elsewhere leaves by
		// another interface than the hook was entered with.
		if h := b.uplinkGuard(); h != nil {
			rules = append(rules, lead(h, by(OutIs, "lo")))
		}
	}
	rules = append(rules, b.exemptPods(s)...)
	rules = append(rules, b.podsPastAddresses(s)...)
	for _, a := range b.hosts.Addressed() {
		if dataplane.FamilyOf(a.Addr) == b.family {
			rules = append(rules, lead(a.Endpoint, Test{Kind: addr, Net: netip.PrefixFrom(a.Addr, a.Addr.BitLen())}))
		}
	}
	if star := b.hosts.Wildcard(); star != nil {
		rules = append(rules, lead(star))
	}
	return rules
}

// podsPastAddresses has what local pods send not meet, before routing, a host
// endpoint that only lists addresses: what it guards comes from elsewhere.
func (b *builder) podsPastAddresses(s hostStage) []Rule {
	if s != rawIn && s != preDNAT || len(b.hosts.Addressed()) == 0 {
		return nil
	}
	r := Rule{If: where(on(SrcIn, Pods)), Then: Accept, Comment: "local pods"}
	if star := b.hosts.Wildcard(); star != nil {
		r.Then, r.Chain, r.Comment = Goto, chainOf(star, s.name), star.Ref.String()
	}
	return []Rule{r}
}

// uplinkGuard is the host endpoint of the interface with the default route, or nil.
func (b *builder) uplinkGuard() *dataplane.Endpoint {
	if b.state.Links == nil {
		return nil
	}
	i := slices.IndexFunc(b.state.Links.Routes, func(r model.LinkRoute) bool { return r.Net.Bits() == 0 && b.ofFamily(r.Net) })
	if i < 0 {
		return nil
	}
	for _, n := range b.hosts.Named() {
		if n.Interface == b.state.Links.Routes[i].Interface {
			return n.Endpoint
		}
	}
	return nil
}
