package nftables

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// The base chains. README.md says why these priorities.
const (
	chainRaw       = "raw-prerouting"
	chainRawOut    = "raw-output"
	chainPreDNAT   = "mangle-prerouting"
	chainInput     = "input"
	chainForward   = "forward"
	chainOutput    = "output"
	priorityRaw    = -300 // before connection tracking (-200): notrack works here only
	priorityMangle = -150 // after connection tracking, before destination NAT (-100)
	priorityFilter = -5   // after destination NAT, before others' filters (0) and source NAT (100)
)

var families = []dataplane.Family{dataplane.IPv4, dataplane.IPv6}

// Sets of the node itself, less the family's digit.
const (
	setHosts    = "hosts"    // addresses of the node and of its host endpoints
	setPodCIDRs = "podcidrs" // the node's blocks of pod addresses
	setForeign  = "foreign"  // addresses in these blocks that pods of other nodes have
)

// addBase adds the sets and maps that are always there.
func (w *world) addBase() {
	w.base = &unit{key: "base"}
	for _, f := range families {
		d, t := digit(f), addrType(f)
		for _, s := range []*set{
			{name: setPods + d, types: t, comment: "local pods"},
			{name: setSelf + d, types: t + " . " + t, comment: "two addresses of one local pod"},
			{name: mapEgress + d, types: t, verdicts: true, comment: "local pod to its egress policy"},
			{name: mapIngress + d, types: t, verdicts: true, comment: "local pod to its ingress policy"},
			{name: setGuarded + d, types: t, comment: "local pods with policies"},
			{name: setHosts + d, types: t, comment: "addresses of this node"},
			{name: setForeign + d, types: t, comment: "addresses in these blocks of pods of other nodes"},
			{name: setPodCIDRs + d, types: t, interval: true, comment: "blocks of pod addresses of this node"},
		} {
			w.addSet(s)
		}
	}
}

// told is what of a State the base chains depend on.
type told struct {
	settings  *model.Settings
	nodeAddrs []netip.Addr
	podCIDRs  []netip.Prefix
	foreign   []netip.Addr
}

// stale says whether the base chains were rendered for something else than what holds now.
func (w *world) stale() bool {
	s := w.state
	return s.Settings != w.told.settings || !slices.Equal(s.NodeAddrs, w.told.nodeAddrs) || !slices.Equal(s.PodCIDRs, w.told.podCIDRs) ||
		!slices.Equal(s.Foreign, w.told.foreign)
}

// renderBase writes the base chains and what they alone use, anew.
func (w *world) renderBase() {
	w.told = told{w.state.Settings, slices.Clone(w.state.NodeAddrs), slices.Clone(w.state.PodCIDRs), slices.Clone(w.state.Foreign)}
	old := w.base
	w.base = &unit{key: "base"}
	r := baseRenderer{world: w, hosts: w.sortedHosts(), settings: w.state.Settings}
	if r.settings == nil {
		r.settings = model.DefaultSettings()
	}
	r.sets()
	r.render()
	for _, name := range old.chains {
		if !slices.Contains(w.base.chains, name) {
			w.dropChain(name)
		}
	}
	for _, u := range old.uses {
		w.release(u)
	}
}

func (w *world) sortedHosts() dataplane.Hosts {
	out := make([]dataplane.Endpoint, 0, len(w.hosts))
	for _, h := range w.hosts {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b dataplane.Endpoint) int { return a.Ref.Compare(b.Ref) })
	return out
}

type baseRenderer struct {
	*world
	hosts    dataplane.Hosts
	settings *model.Settings
}

// sets brings the sets of the node's own addresses up to date.
func (r *baseRenderer) sets() {
	addrs := slices.Clone(r.state.NodeAddrs)
	for _, h := range r.hosts {
		addrs = append(addrs, h.Addrs...)
	}
	for _, f := range families {
		own, cidrs, foreign := map[string]string{}, map[string]string{}, map[string]string{}
		for _, a := range r.state.Foreign {
			if dataplane.FamilyOf(a) == f {
				foreign[addrKey(a)] = ""
			}
		}
		for _, a := range addrs {
			if dataplane.FamilyOf(a) == f {
				own[addrKey(a)] = ""
			}
		}
		var blocks []netip.Prefix
		for _, p := range r.state.PodCIDRs {
			if dataplane.FamilyOf(p.Addr()) == f {
				blocks = append(blocks, p.Masked())
			}
		}
		for _, b := range mergeBlocks(blocks) {
			cidrs[b.key()] = ""
		}
		r.setElems(setHosts+digit(f), own)
		r.setElems(setPodCIDRs+digit(f), cidrs)
		r.setElems(setForeign+digit(f), foreign)
	}
}

// chain writes a chain of the base.
func (r *baseRenderer) chain(name, comment string, rules ...rule) {
	r.own(r.base, &chain{name: name, comment: comment, rules: rules})
}

func (r *baseRenderer) hook(name, hookName string, priority int, comment string, rules ...rule) {
	r.own(r.base, &chain{name: name, comment: comment, hook: &hook{hookName, priority}, rules: rules})
}

func (r *baseRenderer) render() {
	for _, h := range r.hosts {
		r.hostChains(h)
	}
	r.chain("nd", "what IPv6 cannot live without on a link; routed packets never look like this",
		rule{"icmpv6 type 133-137 ip6 hoplimit 255 accept", "router and neighbour discovery"},
		rule{"ip6 saddr fe80::/10 icmpv6 type 130-132 accept", "multicast listeners"},
		rule{"ip6 saddr fe80::/10 icmpv6 type 143 accept", "multicast listeners"},
		rule{"ip6 saddr :: icmpv6 type 143 accept", "multicast listeners, before the first address"},
	)
	if len(r.hosts) > 0 {
		r.failsafe()
	}
	if r.hosts.HasStage(model.StageUntracked) {
		r.untracked()
	}
	if r.hosts.HasStage(model.StagePreDNAT) {
		r.preDNAT()
	}
	r.midstreams()
	r.input()
	r.forward()
	r.output()
}

func (r *baseRenderer) early() bool {
	return r.hosts.HasStage(model.StageUntracked) || r.hosts.HasStage(model.StagePreDNAT)
}

var (
	established = rule{"ct state established,related accept", "connections that are allowed already"}
	discovery   = rule{"meta l4proto 58 jump nd", ""}
)

// midstream matches what goes on with a TCP connection that the kernel does not
// know. It would take it for the beginning of one (nf_conntrack_tcp_loose), and
// the wrong way round if it comes from the side that was called: so a connection
// that a policy has cut could go on by the other side's next packet. Endpoints
// that have policies send such packets and get them only for connections that
// were cut, or forgotten, and are told so by a reset.
const midstream = "meta l4proto tcp ct state new tcp flags & (fin | syn | rst | ack) != syn"

const reset = "counter reject with tcp reset"

// strict is the rule that leads to a family's chain for midstream packets.
func strict(f dataplane.Family) rule {
	return rule{midstream + " jump midstream" + digit(f), "of no known connection"}
}

// midstreams writes the chains for midstream packets of local pods.
func (r *baseRenderer) midstreams() {
	for _, f := range families {
		d, ip := digit(f), ipOf(f)
		r.chain("midstream"+d, "TCP packets of no known connection",
			rule{"meta l4proto tcp " + ip + " saddr @" + setGuarded + d + " " + reset, ""},
			rule{"meta l4proto tcp " + ip + " daddr @" + setGuarded + d + " " + reset, ""})
	}
}

// byFamily is the rules that end a base chain: the family's own chain.
func byFamily(name string) []rule {
	return []rule{{"meta nfproto ipv4 goto " + name + "4", ""}, {"meta nfproto ipv6 goto " + name + "6", ""}}
}

func (r *baseRenderer) both() uint32 { return r.opts.Accepted | r.opts.Early }

// forward is the way of pods' packets, and of all that the node routes.
func (r *baseRenderer) forward() {
	r.hook(chainForward, "forward", priorityFilter, "pods, and all that the node routes",
		append([]rule{established, discovery}, byFamily("forward")...)...)
	for _, f := range families {
		d, ip := digit(f), ipOf(f)
		pods := "@" + setPods + d
		in, out := r.fromOutside(f), r.toOutside(f)
		rules := []rule{
			{ip + " saddr . " + ip + " daddr @" + setSelf + d + " accept", "a pod to itself"},
			strict(f),
			{clearMark(r.opts.Accepted), ""},
			{ip + " saddr vmap @" + mapEgress + d, "egress of local pods"},
		}
		if len(out) > 0 {
			r.chain("to-outside"+d, "from the node, or through it, to others", out...)
			rules = append(rules, rule{ip + " daddr != " + pods + " jump to-outside" + d, ""})
		}
		if len(in) > 0 {
			r.chain("from-outside"+d, "from others to the node's pods, or through it", in...)
			rules = append(rules, rule{ip + " saddr != " + pods + " jump from-outside" + d, ""})
		}
		rules = append(rules,
			rule{clearMark(r.both()), ""},
			rule{ip + " daddr vmap @" + mapIngress + d, "ingress of local pods"},
			rule{clearMark(r.both()), ""},
		)
		r.chain("forward"+d, "", rules...)
	}
}

func ipOf(f dataplane.Family) string {
	if f == dataplane.IPv6 {
		return "ip6"
	}
	return "ip"
}

// unknown drops packets of addresses that should belong to local pods and
// belong to none that is known; side is saddr or daddr.
func (r *baseRenderer) unknown(f dataplane.Family, side string) []rule {
	if r.settings.UnknownWorkloads != model.Deny || len(r.ruleset.sets[setPodCIDRs+digit(f)].elems) == 0 {
		return nil
	}
	field, d := ipOf(f)+" "+side, digit(f)
	return []rule{{
		field + " @" + setPodCIDRs + d + " " + field + " != @" + setPods + d + " " + field + " != @" + setForeign + d + " " + field + " != @" + setHosts + d + " counter drop",
		"unknownWorkloads: Deny",
	}}
}

// fromOutside is the rules for forwarded packets that no local pod has sent.
func (r *baseRenderer) fromOutside(f dataplane.Family) []rule {
	rules := r.unknown(f, "saddr")
	if p := r.forwardProgram(model.Ingress, f); p != "" {
		if r.early() {
			rules = append(rules, rule{isMarked(r.opts.Early) + " return", "allowed before routing"})
		}
		rules = append(rules, rule{midstream + " " + reset, ""}, rule{clearMark(r.opts.Accepted), ""}, rule{"jump " + p, r.hosts.Guard().Ref.String() + ", applyOnForward"})
	}
	return rules
}

// toOutside is the rules for forwarded packets that go to no local pod.
func (r *baseRenderer) toOutside(f dataplane.Family) []rule {
	var rules []rule
	if p := r.forwardProgram(model.Egress, f); p != "" {
		rules = append(rules, rule{midstream + " " + reset, ""}, rule{clearMark(r.opts.Accepted), ""}, rule{"jump " + p, r.hosts.Guard().Ref.String() + ", applyOnForward"})
	}
	return append(rules, r.unknown(f, "daddr")...)
}

// input is the way of packets to the node itself.
func (r *baseRenderer) input() {
	r.hook(chainInput, "input", priorityFilter, "to the node itself",
		append([]rule{established, {"iifname \"lo\" accept", ""}, discovery}, byFamily("input")...)...)
	for _, f := range families {
		d, ip := digit(f), ipOf(f)
		rules := []rule{strict(f), {ip + " saddr @" + setPods + d + " goto pod-to-host" + d, "local pods"}}
		rules = append(rules, r.unknown(f, "saddr")...)
		local := r.dispatch(stageIn, f)
		if len(local) > 0 {
			if r.early() {
				rules = append(rules, rule{isMarked(r.opts.Early) + " " + clearMark(r.both()) + " accept", "allowed before routing"})
			}
			r.chain("local-in"+d, "host endpoints", append([]rule{{"jump failsafe-in", ""}}, local...)...)
			rules = append(rules, rule{"goto local-in" + d, ""})
		}
		r.chain("input"+d, "", rules...)

		toHost := []rule{
			{clearMark(r.both()), ""},
			{ip + " saddr vmap @" + mapEgress + d, "egress of local pods"},
			{clearMark(r.both()), ""},
		}
		switch {
		case r.settings.EndpointToHost == model.ToHostDrop:
			toHost = append(toHost, rule{"counter drop", "endpointToHostAction: Drop"})
		case r.settings.EndpointToHost == model.ToHostReturn && len(local) > 0:
			toHost = append(toHost, rule{"goto local-in" + d, "endpointToHostAction: Return"})
		}
		r.chain("pod-to-host"+d, "a pod to its own node", toHost...)
	}
}

// output is the way of the node's own packets. All that is somebody else's, by
// way of IPVS, leaves by one goto: the kernel checks all that a goto leads to
// once for each of them.
func (r *baseRenderer) output() {
	r.hook(chainOutput, "output", priorityFilter, "from the node itself",
		append([]rule{established, {"oifname \"lo\" accept", ""}, discovery}, byFamily("output")...)...)
	for _, f := range families {
		d, ip, pods := digit(f), ipOf(f), "@"+setPods+digit(f)
		own := "accept"
		if local := r.dispatch(stageOut, f); len(local) > 0 {
			own = "goto local-out" + d
			rules := r.toOwnPods(f)
			if r.early() {
				rules = append(rules, rule{isMarked(r.opts.Early) + " " + clearMark(r.both()) + " accept", "allowed untracked"})
			}
			r.chain("local-out"+d, "host endpoints", append(append(rules, rule{"jump failsafe-out", ""}), local...)...)
		}
		r.chain("output"+d, "", strict(f),
			rule{ip + " saddr != " + pods + " " + ip + " daddr != " + pods + " " + own, ""},
			rule{ip + " saddr != " + pods + " fib saddr type local " + own, "the node to its own pods"},
			rule{"goto forward" + d, "of others, by way of IPVS"})
	}
}

// toOwnPods accepts what the node sends to its own pods, known or not yet: the
// kubelet's probes and the node's proxies.
func (r *baseRenderer) toOwnPods(f dataplane.Family) []rule {
	field, d := ipOf(f)+" daddr ", digit(f)
	return []rule{
		{field + "@" + setPods + d + " accept", "the node to its own pods"},
		{field + "@" + setPodCIDRs + d + " " + field + "!= @" + setForeign + d + " accept", "the node to its own pods"},
	}
}
