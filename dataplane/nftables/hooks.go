package nftables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/policy/model"
)

// The base chains in nft's language. What they do is said in package base; a
// chain of both families there is one here for each, behind one hook.

// attached is where the chains of a point hang. README.md says why these
// priorities: filters stand after destination NAT, so that policies see pods and
// not Services, before source NAT (100), so that they see the sender, and before
// others' filters (0).
var attached = map[base.Point]nft.Hook{
	base.RawPrerouting:    {Name: "prerouting", Priority: -300}, // before connection tracking (-200): notrack works here only
	base.RawOutput:        {Name: "output", Priority: -300},
	base.ManglePrerouting: {Name: "prerouting", Priority: -150}, // after connection tracking, before destination NAT (-100)
	base.LinkPrerouting:   {Name: "prerouting", Priority: -149}, // as before; a routed packet loses its priority afterwards
	base.Input:            {Name: "input", Priority: -5},
	base.Forward:          {Name: "forward", Priority: -5},
	base.Output:           {Name: "output", Priority: -5},
	base.Postrouting:      {Name: "postrouting", Priority: -5},
}

// baseNames are the names of chains with hooks.
var baseNames = []string{
	"raw-prerouting", "raw-output", "mangle-prerouting", "link-prerouting", "input", "forward", "output", "postrouting",
	bridgeIn, bridgeOut,
}

// render writes the chains of both families.
func (r *baseRenderer) render() {
	seen := map[string]bool{}
	both := map[string]*nft.Chain{}
	for _, f := range families {
		t := base.New(r.state, r.hosts, f, base.Options{PortsAtPostrouting: true})
		for _, c := range slices.Concat(t.Raw, t.Mangle, t.Filter) {
			if c.ByAddress {
				r.byAddress(&c, f, both)
				continue
			}
			if c.Point != base.Nowhere && !seen[c.Name] {
				seen[c.Name] = true
				r.hook(&c, f)
			}
			if name := c.Name + digit(f); !seen[name] {
				seen[name] = true
				r.chain(name, c.Comment, r.rules(c.Rules[c.Common:], f)...)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(both)) {
		r.own(r.base, both[name])
	}
}

// byAddress writes a chain for both families: one chain less on the way of each packet.
func (r *baseRenderer) byAddress(c *base.Chain, f dataplane.Family, both map[string]*nft.Chain) {
	one := both[c.Name]
	if one == nil {
		at := attached[c.Point]
		one = &nft.Chain{Name: c.Name, Comment: c.Comment, Hook: &at}
		both[c.Name] = one
	}
	for _, rule := range r.rules(c.Rules, f) {
		if !slices.Contains(one.Rules, rule) {
			one.Rules = append(one.Rules, rule)
		}
	}
}

// hook writes the chain that is attached: rules common to both families, then the family's own chain.
func (r *baseRenderer) hook(c *base.Chain, f dataplane.Family) {
	at := attached[c.Point]
	rules := r.rules(c.Rules[:c.Common], f)
	for _, f := range families {
		if digit(f) == "4" {
			rules = append(rules, line("meta nfproto ipv4 goto "+c.Name+"4", ""))
		} else {
			rules = append(rules, line("meta nfproto ipv6 goto "+c.Name+"6", ""))
		}
	}
	r.own(r.base, &nft.Chain{Name: c.Name, Comment: c.Comment, Hook: &at, Rules: rules})
}

func (r *baseRenderer) rules(list []base.Rule, f dataplane.Family) []nft.Rule {
	var out []nft.Rule
	for i := range list {
		then := r.action(&list[i], f)
		for _, match := range r.matches(list[i].If, f) {
			for _, t := range then {
				out = append(out, line(strings.TrimSpace(match+" "+t), list[i].Comment))
			}
		}
	}
	return out
}

// matches are the texts of which one must match for all tests to hold.
func (r *baseRenderer) matches(tests []base.Test, f dataplane.Family) []string {
	out := []string{""}
	for i := range tests {
		var next []string
		for _, m := range out {
			for _, t := range r.test(&tests[i], f) {
				next = append(next, strings.TrimSpace(m+" "+t))
			}
		}
		out = next
	}
	return out
}

// midstream matches TCP packets that go on with a connection which the kernel does not know.
const midstream = "meta l4proto tcp ct state new tcp flags & (fin | syn | rst | ack) != syn"

func (r *baseRenderer) test(t *base.Test, f dataplane.Family) []string {
	ip, d, not := ipOf(f), digit(f), ""
	if t.Not {
		not = "!= "
	}
	switch t.Kind {
	case base.Established:
		return []string{"ct state established,related"}
	case base.Midstream:
		return []string{midstream}
	case base.SCTPMidstream:
		return []string{"meta l4proto sctp ct state new @th,96,8 != 1 @th,96,8 != 4"}
	case base.Unknown:
		return []string{"ct state new,invalid"}
	case base.FlowBarred:
		return []string{flowOf(ip) + " @" + setBar + d}
	case base.SYN:
		return []string{"meta l4proto tcp tcp flags & (fin | syn | rst | ack) == syn"}
	case base.INIT:
		return []string{"meta l4proto sctp @th,96,8 1"}
	case base.SrcIn:
		return []string{ip + " saddr " + not + "@" + string(t.Set) + d}
	case base.DstIn:
		return []string{ip + " daddr " + not + "@" + string(t.Set) + d}
	case base.PairIn:
		return []string{ip + " saddr . " + ip + " daddr " + not + "@" + string(t.Set) + d}
	case base.LinkIn:
		return []string{"iifname . " + ip + " saddr " + not + "@" + string(t.Set) + d}
	case base.InIs:
		return []string{fmt.Sprintf("iifname %s%q", not, t.Name)}
	case base.OutIs:
		return []string{fmt.Sprintf("oifname %s%q", not, t.Name)}
	case base.FromLink:
		return r.fromLink()
	case base.ToLink:
		return []string{"oifname @" + setLinks}
	case base.ToPort:
		// What is routed bears the port by which it came still, also back to the bridge.
		// What is bridged comes by no interface here.
		return []string{"iifname != @" + setLinks + " oifname @" + setLinks + " meta priority @" + setPorts}
	case base.SrcLocal:
		return []string{"fib saddr type " + not + "local"}
	case base.DstLocal:
		return []string{"fib daddr type " + not + "local"}
	case base.SrcNet:
		return []string{ip + " saddr " + not + blockText(t.Net)}
	case base.DstNet:
		return []string{ip + " daddr " + not + blockText(t.Net)}
	case base.Proto:
		return []string{"meta l4proto " + protocol(t.Protocol)}
	case base.DstPorts, base.SrcPorts:
		b := builder{w: r.world, u: r.base, family: f}
		field := "th dport"
		if t.Kind == base.SrcPorts {
			field = "th sport"
		}
		return b.ports(field, not, t.Ports)
	case base.ICMPv6Type:
		if t.First == t.Last {
			return []string{fmt.Sprintf("icmpv6 type %d", t.First)}
		}
		return []string{fmt.Sprintf("icmpv6 type %d-%d", t.First, t.Last)}
	case base.HopLimit255:
		return []string{"ip6 hoplimit 255"}
	}
	bits := r.opts.Bits(t.Bits)
	if t.Not {
		return []string{fmt.Sprintf("meta mark & 0x%08x != 0x%08x", bits, bits)}
	}
	return []string{isMarked(bits)}
}

// fromLink are the matches for pods' interfaces, and for ports of bridges. A
// packet that is bridged bears the number of its port as its priority; see bridge.go.
func (r *baseRenderer) fromLink() []string {
	out := []string{"iifname @" + setLinks}
	if !base.HasPorts(r.state) {
		return out
	}
	byPort := "meta priority @" + setPorts
	if g := r.guards(); g.Link == model.GuardCount || g.Encapsulation == model.GuardCount {
		byPort = "iifname != @" + setLinks + " " + byPort // what is counted is counted once
	}
	return append(out, byPort)
}

// action returns what a rule does after what it matches: one rule of nft's for each.
func (r *baseRenderer) action(rule *base.Rule, f dataplane.Family) []string {
	d := digit(f)
	one := func(s string) []string { return []string{s} }
	switch rule.Then {
	case base.Drop:
		if rule.Guard != "" {
			return one("counter name " + r.guardCounter(rule.Guard, false) + " drop")
		}
		return one("counter drop")
	case base.Count:
		return one("counter name " + r.guardCounter(rule.Guard, true))
	case base.Reset:
		return one("counter reject with tcp reset")
	case base.Return:
		return one("return")
	case base.Jump, base.Include:
		return one("jump " + rule.Chain + d)
	case base.Goto:
		return one("goto " + rule.Chain + d)
	case base.Run:
		return one("jump " + programName(rule.Program, rule.Spare))
	case base.ByAddr:
		if rule.Direction == model.Egress {
			return one(ipOf(f) + " saddr vmap @" + mapEgress + d)
		}
		return one(ipOf(f) + " daddr vmap @" + mapIngress + d)
	case base.ByLink:
		out := r.byLink(rule.Direction, d)
		switch {
		case rule.Guard == "":
		case rule.Counted:
			out = append(out, "counter name "+r.guardCounter(rule.Guard, true))
		default:
			out = append(out, "counter name "+r.guardCounter(rule.Guard, false)+" drop")
		}
		return out
	case base.BySelf:
		name := mapSelfEgress
		if rule.Direction == model.Ingress {
			name = mapSelfIngress
		}
		return one(ipOf(f) + " saddr . " + ipOf(f) + " daddr vmap @" + name + d)
	case base.ByPort:
		return one("meta priority vmap @" + mapPortIngress + d)
	case base.SetMark:
		return one(setMark(r.opts.Bits(rule.Bits)))
	case base.ClearMark:
		return one(clearMark(r.opts.Bits(rule.Bits)))
	case base.Renew:
		return one("update @" + setBar + d + " { " + flowOf(ipOf(f)) + " timeout " + barTime + " }")
	case base.NoTrack:
		return one("notrack")
	}
	return one("accept")
}

// byLink leads to the program of the pod behind an interface or the port by
// which the packet came.
func (r *baseRenderer) byLink(dir model.Direction, d string) []string {
	if dir == model.Ingress {
		return []string{"oifname vmap @" + mapLinkIngress + d}
	}
	out := []string{"iifname vmap @" + mapLinkEgress + d}
	if base.HasPorts(r.state) {
		out = append(out, "meta priority vmap @"+mapPortEgress+d)
	}
	return out
}

// guardCounter returns the name of a guard's counter, which the base holds.
func (r *baseRenderer) guardCounter(g model.GuardName, counted bool) string {
	return r.guardCount(r.base, g, counted)
}

// guardCount returns the name of a guard's counter, for a user.
func (w *world) guardCount(user *unit, g model.GuardName, counted bool) string {
	o, name := dataplane.GuardOrigin(g, counted), guardName(g, counted)
	return user.use(w.hold(name, func(u *unit) {
		u.name = name
		u.counters = []string{name}
		w.origins[name] = o
		w.renamed = true
		w.AddCounter(&nft.Counter{Name: name, Comment: o.String()})
	})).name
}

// guardName is the name of a guard's counter.
func guardName(g model.GuardName, counted bool) string {
	if counted {
		return "g-" + string(g) + "-count"
	}
	return "g-" + string(g)
}

// guardOrigin is the reverse of guardName.
func guardOrigin(name string) (dataplane.Origin, bool) {
	g, ok := strings.CutPrefix(name, "g-")
	plain, counted := strings.CutSuffix(g, "-count")
	return dataplane.GuardOrigin(model.GuardName(plain), counted), ok
}
