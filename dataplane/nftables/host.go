package nftables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// hostStage is one of the points at which a host endpoint's policy meets packets.
type hostStage struct {
	name  string
	stage model.Stage
	dir   model.Direction
}

var (
	stageRawIn   = hostStage{"raw-in", model.StageUntracked, model.Ingress}
	stageRawOut  = hostStage{"raw-out", model.StageUntracked, model.Egress}
	stagePreDNAT = hostStage{"pre-dnat", model.StagePreDNAT, model.Ingress}
	stageIn      = hostStage{"in", model.StageHost, model.Ingress}
	stageOut     = hostStage{"out", model.StageHost, model.Egress}
	hostStages   = []hostStage{stageRawIn, stageRawOut, stagePreDNAT, stageIn, stageOut}
)

// side is the node's own side of packets at the stage, and its interface.
func (s hostStage) side() (addr, iface string) {
	if s.dir == model.Egress {
		return "saddr", "oifname"
	}
	return "daddr", "iifname"
}

// chainOf is the name of a host endpoint's chain at a stage.
func chainOf(h dataplane.Endpoint, s hostStage, f dataplane.Family) string {
	return "h-" + dataplane.Hash(h.Ref.Name) + "-" + s.name + digit(f)
}

// hostProgram returns the name of a host endpoint's program, or "". The
// endpoint holds it.
func hostProgram(h dataplane.Endpoint, s model.Stage, dir model.Direction, f dataplane.Family) string {
	if h.Policy == nil {
		return ""
	}
	p := h.Policy.Program(s, dir, f)
	if p == nil {
		return ""
	}
	return "p-" + p.ID
}

// hostChains writes a host endpoint's chains: they end in a verdict, but for
// those before routing, where what no rule decides goes on.
func (r *baseRenderer) hostChains(h dataplane.Endpoint) {
	for _, s := range hostStages {
		if !r.hosts.HasStage(s.stage) {
			continue
		}
		for _, f := range families {
			p := hostProgram(h, s.stage, s.dir, f)
			var rules []rule
			switch {
			case p == "" && s.stage == model.StageHost:
				rules = []rule{{"counter drop", "no policy is known"}}
			case p == "":
			case s.stage == model.StageHost:
				rules = []rule{{clearMark(r.both()), ""}, {"jump " + p, ""}, {clearMark(r.both()) + " accept", ""}}
				if h.HasPolicies(f) {
					rules = slices.Insert(rules, 0, rule{midstream + " " + reset, ""})
				}
			default:
				allowed := r.opts.accepted() + " goto allowed-early"
				if s.stage == model.StageUntracked {
					allowed = r.opts.accepted() + " goto allowed-untracked"
				}
				rules = []rule{{clearMark(r.both()), ""}, {"jump " + p, ""}, {allowed, ""}}
			}
			r.chain(chainOf(h, s, f), h.Ref.String(), rules...)
		}
	}
}

func (r *baseRenderer) forwardProgram(dir model.Direction, f dataplane.Family) string {
	if g := r.hosts.Guard(); g != nil {
		return hostProgram(*g, model.StageForward, dir, f)
	}
	return ""
}

// dispatch returns the rules that lead to the host endpoint that guards the
// node's side of a packet: by address the first by name that is for certain
// interfaces or addresses; where several claim one address, the one of the
// packet's interface; one without addresses by its interface; else that of all
// interfaces.
func (r *baseRenderer) dispatch(s hostStage, f dataplane.Family) []rule {
	if len(r.hosts) == 0 {
		return nil
	}
	side, ifname := s.side()
	field := ipOf(f) + " " + side
	var named, byAddr, byIface []rule
	claims := map[netip.Addr][]*dataplane.Endpoint{}
	for i := range r.hosts {
		h := &r.hosts[i]
		if h.Host.Interface == "*" {
			continue
		}
		for _, a := range h.Addrs {
			if dataplane.FamilyOf(a) == f {
				claims[a] = append(claims[a], h)
			}
		}
		if len(h.Addrs) == 0 && h.Host.Interface != "" {
			byIface = append(byIface, rule{fmt.Sprintf("%s %q goto %s", ifname, h.Host.Interface, chainOf(*h, s, f)), h.Ref.String()})
		}
	}
	addrs := make([]netip.Addr, 0, len(claims))
	for a := range claims {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range addrs {
		if len(claims[a]) > 1 {
			for _, h := range claims[a] {
				if h.Host.Interface != "" {
					named = append(named, rule{fmt.Sprintf("%s %q %s %s goto %s", ifname, h.Host.Interface, field, a, chainOf(*h, s, f)), h.Ref.String()})
				}
			}
		}
		byAddr = append(byAddr, rule{fmt.Sprintf("%s %s goto %s", field, a, chainOf(*claims[a][0], s, f)), claims[a][0].Ref.String()})
	}
	rules := slices.Concat(named, byAddr, byIface)
	early := s.stage != model.StageHost
	switch star, g := r.hosts.Wildcard(), r.hosts.Guard(); {
	case star != nil:
		rules = append(rules, rule{"goto " + chainOf(*star, s, f), star.Ref.String()})
	case early && s.dir == model.Ingress:
		// Where to, is not known before destination NAT: all but the node itself counts as forwarded.
		rules = append(rules, rule{field + " != @" + setHosts + digit(f) + " goto " + chainOf(*g, s, f), g.Ref.String()})
	}
	return rules
}

// untracked writes the hooks before connection tracking.
func (r *baseRenderer) untracked() {
	r.hook(chainRaw, "prerouting", priorityRaw, "doNotTrack policies of host endpoints",
		append([]rule{{"iifname \"lo\" accept", ""}, {clearMark(r.both()), ""}, discovery}, byFamily("raw-in")...)...)
	r.hook(chainRawOut, "output", priorityRaw, "doNotTrack policies of host endpoints",
		append([]rule{{"oifname \"lo\" accept", ""}, {clearMark(r.both()), ""}, discovery}, byFamily("raw-out")...)...)
	r.chain("allowed-untracked", "",
		rule{clearMark(r.opts.Accepted), ""}, rule{setMark(r.opts.Early), ""}, rule{"notrack accept", ""})
	for _, f := range families {
		d, ip := digit(f), ipOf(f)
		in := []rule{
			{ip + " saddr @" + setPods + d + " accept", "local pods come by no interface of the host's"},
			{ip + " daddr @" + setHosts + d + " jump failsafe-in", ""},
			{ip + " daddr @" + setHosts + d + " jump failsafe-out-replies", ""},
		}
		r.chain("raw-in"+d, "", append(in, r.dispatch(stageRawIn, f)...)...)
		out := append(r.toOwnPods(f), rule{"jump failsafe-out", ""}, rule{"jump failsafe-in-replies", ""})
		r.chain("raw-out"+d, "", append(out, r.dispatch(stageRawOut, f)...)...)
	}
}

// preDNAT writes the hook before destination NAT.
func (r *baseRenderer) preDNAT() {
	first := []rule{established, {"iifname \"lo\" accept", ""}}
	if r.hosts.HasStage(model.StageUntracked) {
		first = append(first, rule{isMarked(r.opts.Early) + " accept", "allowed untracked"})
	}
	r.hook(chainPreDNAT, "prerouting", priorityMangle, "preDNAT policies of host endpoints",
		append(append(first, rule{clearMark(r.both()), ""}, discovery), byFamily("pre-dnat")...)...)
	r.chain("allowed-early", "", rule{clearMark(r.opts.Accepted), ""}, rule{setMark(r.opts.Early) + " accept", ""})
	for _, f := range families {
		d, ip := digit(f), ipOf(f)
		in := []rule{
			{ip + " saddr @" + setPods + d + " accept", "local pods come by no interface of the host's"},
			{ip + " daddr @" + setHosts + d + " jump failsafe-in", ""},
		}
		r.chain("pre-dnat"+d, "", append(in, r.dispatch(stagePreDNAT, f)...)...)
	}
}

// failsafe writes the chains that accept what no policy can close.
func (r *baseRenderer) failsafe() {
	r.chain("failsafe-in", "failsafe.inbound", r.failsafeRules(r.settings.FailsafeInbound, "saddr", "th dport")...)
	r.chain("failsafe-out", "failsafe.outbound", r.failsafeRules(r.settings.FailsafeOutbound, "daddr", "th dport")...)
	if r.hosts.HasStage(model.StageUntracked) {
		r.chain("failsafe-in-replies", "failsafe.inbound", r.failsafeRules(r.settings.FailsafeInbound, "daddr", "th sport")...)
		r.chain("failsafe-out-replies", "failsafe.outbound", r.failsafeRules(r.settings.FailsafeOutbound, "saddr", "th sport")...)
	}
}

// failsafeRules returns a rule for each protocol and peer's block.
func (r *baseRenderer) failsafeRules(list []model.FailsafePort, peer, port string) []rule {
	type group struct {
		protocol model.Protocol
		net      netip.Prefix
	}
	ports := map[group][]dataplane.PortRange{}
	var groups []group
	for _, p := range list {
		g := group{p.Protocol, p.Net}
		if ports[g] == nil {
			groups = append(groups, g)
		}
		ports[g] = append(ports[g], dataplane.PortRange{First: p.Port, Last: p.Port})
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.net.String(), b.net.String()))
	})
	b := builder{w: r.world, u: r.base, family: dataplane.IPv4}
	for _, g := range groups {
		list := ports[g]
		slices.SortFunc(list, func(a, b dataplane.PortRange) int { return cmp.Compare(a.First, b.First) })
		for _, match := range b.ports(port, "", slices.Compact(list)) {
			text := "meta l4proto " + protocol(g.protocol) + " " + match + " accept"
			if g.net.IsValid() {
				field := ipOf(dataplane.FamilyOf(g.net.Addr())) + " " + peer
				if g.net.Bits() > 0 {
					text = field + " " + blockText(g.net) + " " + text
				} else {
					text = "meta nfproto " + map[bool]string{true: "ipv4", false: "ipv6"}[g.net.Addr().Is4()] + " " + text
				}
			}
			b.add(text, "failsafe")
		}
	}
	return b.rules
}
