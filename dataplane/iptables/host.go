package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

const (
	chainFailsafeIn         = chainPrefix + "failsafe-in"
	chainFailsafeOut        = chainPrefix + "failsafe-out"
	chainFailsafeInReplies  = chainPrefix + "failsafe-in-re"
	chainFailsafeOutReplies = chainPrefix + "failsafe-out-re"
)

// hostStage is one of the points at which a host endpoint's policy meets packets.
type hostStage struct {
	name  string
	stage model.Stage
	dir   model.Direction
}

var (
	stageRawIn   = hostStage{"ri", model.StageUntracked, model.Ingress}
	stageRawOut  = hostStage{"ro", model.StageUntracked, model.Egress}
	stagePreDNAT = hostStage{"pd", model.StagePreDNAT, model.Ingress}
	stageIn      = hostStage{"in", model.StageHost, model.Ingress}
	stageOut     = hostStage{"out", model.StageHost, model.Egress}
	hostStages   = []hostStage{stageRawIn, stageRawOut, stagePreDNAT, stageIn, stageOut}
)

// side is the node's own side of packets at the stage: the flags of address and
// interface, and the direction of sets.
func (s hostStage) side() (addr, iface, direction string) {
	if s.dir == model.Egress {
		return "-s", "-o", "src"
	}
	return "-d", "-i", "dst"
}

// chainOf is the name of a host endpoint's chain at a stage.
func chainOf(h *dataplane.Endpoint, s hostStage) string {
	return chainPrefix + "h-" + dataplane.Hash(h.Ref.Name) + "-" + s.name
}

// hostProgram returns the chain of a host endpoint's program, or "".
func (g *generator) hostProgram(h *dataplane.Endpoint, s model.Stage, dir model.Direction) string {
	if h.Policy == nil {
		return ""
	}
	p := h.Policy.Program(s, dir, g.family)
	if p == nil {
		return ""
	}
	return g.program(p)
}

// hostChains writes the host endpoints' chains at a stage: what no rule decides
// before routing goes on.
func (g *generator) hostChains(stage model.Stage) {
	for i := range g.hosts {
		h := &g.hosts[i]
		for _, s := range hostStages {
			if s.stage == stage {
				g.chain(chainOf(h, s), g.hostRules(h, s)...)
			}
		}
	}
}

func (g *generator) hostRules(h *dataplane.Endpoint, s hostStage) []rule {
	p := g.hostProgram(h, s.stage, s.dir)
	clear := rule{"", clearMark(g.opts.both()), h.Ref.String()}
	switch {
	case p == "" && s.stage == model.StageHost:
		return []rule{{"", "-j DROP", h.Ref.String() + ": no policy is known"}}
	case p == "":
		return nil
	case s.stage == model.StageHost:
		rules := []rule{clear, {"", "-j " + p, ""}, {"", clearMark(g.opts.both()), ""}}
		if h.HasPolicies(g.family) {
			rules = slices.Insert(rules, 0, rule{midstreamMatch, reset, ""})
		}
		return rules
	}
	return []rule{clear, {"", "-j " + p, ""}, {isMarked(g.opts.Accepted), "-g " + chainPrefix + "allowed-early", ""}}
}

func (g *generator) forwardProgram(dir model.Direction) string {
	if h := g.hosts.Guard(); h != nil {
		return g.hostProgram(h, model.StageForward, dir)
	}
	return ""
}

// dispatch returns the rules that lead to the host endpoint that guards the
// node's side of a packet: by address the first by name that is for certain
// interfaces or addresses; where several claim one address, the one of the
// packet's interface; one without addresses by its interface; else that of all
// interfaces.
func (g *generator) dispatch(s hostStage) []rule {
	if len(g.hosts) == 0 {
		return nil
	}
	addr, iface, direction := s.side()
	var named, byAddr, byIface []rule
	claims := map[netip.Addr][]*dataplane.Endpoint{}
	onInterface := func(h *dataplane.Endpoint, match string) rule {
		return rule{fmt.Sprintf("%s %q", iface, dataplane.Plain(h.Host.Interface, 15)) + match, "-g " + chainOf(h, s), h.Ref.String()}
	}
	for i := range g.hosts {
		h := &g.hosts[i]
		if h.Host.Interface == "*" {
			continue
		}
		for _, a := range h.Addrs {
			if dataplane.FamilyOf(a) == g.family {
				claims[a] = append(claims[a], h)
			}
		}
		if len(h.Addrs) == 0 && h.Host.Interface != "" {
			byIface = append(byIface, onInterface(h, ""))
		}
	}
	addrs := make([]netip.Addr, 0, len(claims))
	for a := range claims {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range addrs {
		match := addr + " " + a.String()
		if len(claims[a]) > 1 {
			for _, h := range claims[a] {
				if h.Host.Interface != "" {
					named = append(named, onInterface(h, " "+match))
				}
			}
		}
		byAddr = append(byAddr, rule{match, "-g " + chainOf(claims[a][0], s), claims[a][0].Ref.String()})
	}
	rules := slices.Concat(named, byAddr, byIface)
	switch star, guard := g.hosts.Wildcard(), g.hosts.Guard(); {
	case star != nil:
		rules = append(rules, rule{"", "-g " + chainOf(star, s), star.Ref.String()})
	case s.stage != model.StageHost && s.dir == model.Ingress:
		// Where to, is not known before destination NAT: all but the node itself counts as forwarded.
		rules = append(rules, rule{inSet("! ", g.hostAddrs, direction), "-g " + chainOf(guard, s), guard.Ref.String()})
	}
	return rules
}

// untracked writes the table before connection tracking.
func (g *generator) untracked() {
	g.common()
	g.failsafe()
	g.hostChains(model.StageUntracked)
	g.chain(chainPrefix+"allowed-early", rule{"", clearMark(g.opts.Accepted), ""}, rule{"", setMark(g.opts.Early), ""}, rule{"", "-j CT --notrack", ""})
	clear := rule{"", clearMark(g.opts.both()), ""}
	in := append([]rule{{"-i lo", "-j RETURN", ""}, clear}, g.discovery()...)
	in = append(in, g.notFromPods())
	in = append(in, g.passFailsafe(inSet("", g.hostAddrs, "dst"), chainFailsafeIn, chainFailsafeOutReplies)...)
	g.hook("PREROUTING", append(in, g.dispatch(stageRawIn)...)...)
	out := append([]rule{{"-o lo", "-j RETURN", ""}, clear}, g.discovery()...)
	out = append(out, g.toOwnPods()...)
	out = append(out, g.passFailsafe("", chainFailsafeOut, chainFailsafeInReplies)...)
	g.hook("OUTPUT", append(out, g.dispatch(stageRawOut)...)...)
}

// preDNAT writes the table before destination NAT.
func (g *generator) preDNAT() {
	g.common()
	g.failsafe()
	g.hostChains(model.StagePreDNAT)
	g.chain(chainPrefix+"allowed-early", rule{"", clearMark(g.opts.Accepted), ""}, rule{"", setMark(g.opts.Early), ""})
	rules := []rule{{established, "-j RETURN", "connections that are allowed already"}, {"-i lo", "-j RETURN", ""}}
	if g.hosts.HasStage(model.StageUntracked) {
		rules = append(rules, rule{isMarked(g.opts.Early), "-j RETURN", "allowed untracked"})
	}
	rules = append(append(rules, rule{"", clearMark(g.opts.both()), ""}), g.discovery()...)
	rules = append(rules, g.notFromPods())
	rules = append(rules, g.passFailsafe(inSet("", g.hostAddrs, "dst"), chainFailsafeIn)...)
	g.hook("PREROUTING", append(rules, g.dispatch(stagePreDNAT)...)...)
}

func (g *generator) notFromPods() rule {
	return rule{inSet("", g.earlyPods, "src"), "-j RETURN", "local pods come by no interface of the host's"}
}

// passFailsafe is the rules that let pass what no policy can close.
func (g *generator) passFailsafe(match string, chains ...string) []rule {
	rules := []rule{{"", clearMark(g.opts.Accepted), ""}}
	for _, c := range chains {
		rules = append(rules, rule{match, "-j " + c, ""})
	}
	return append(rules, rule{isMarked(g.opts.Accepted), "-g " + chainDone, ""})
}

// failsafe writes the chains that accept what no policy can close.
func (g *generator) failsafe() {
	g.chain(chainFailsafeIn, g.failsafeRules(g.settings.FailsafeInbound, "-s", "dports")...)
	g.chain(chainFailsafeOut, g.failsafeRules(g.settings.FailsafeOutbound, "-d", "dports")...)
	g.chain(chainFailsafeInReplies, g.failsafeRules(g.settings.FailsafeInbound, "-d", "sports")...)
	g.chain(chainFailsafeOutReplies, g.failsafeRules(g.settings.FailsafeOutbound, "-s", "sports")...)
}

// failsafeRules returns the rules for each protocol and peer's block.
func (g *generator) failsafeRules(list []model.FailsafePort, peer, port string) []rule {
	type group struct {
		protocol model.Protocol
		net      netip.Prefix
	}
	open := map[group][]dataplane.PortRange{}
	var groups []group
	for _, p := range list {
		if p.Net.IsValid() && dataplane.FamilyOf(p.Net.Addr()) != g.family {
			continue
		}
		k := group{p.Protocol, p.Net}
		if open[k] == nil {
			groups = append(groups, k)
		}
		open[k] = append(open[k], dataplane.PortRange{First: p.Port, Last: p.Port})
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.net.String(), b.net.String()))
	})
	var rules []rule
	for _, k := range groups {
		list := open[k]
		slices.SortFunc(list, func(a, b dataplane.PortRange) int { return cmp.Compare(a.First, b.First) })
		m := match{protocol: k.protocol}
		if k.net.IsValid() && k.net.Bits() > 0 {
			m.src = peer + " " + netText(k.net)
		}
		for _, m := range ports(m, port, false, slices.Compact(list)) {
			rules = append(rules, rule{m.text(), "-g " + g.accept(), "failsafe"})
		}
	}
	return rules
}
