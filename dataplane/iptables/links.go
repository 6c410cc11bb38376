package iptables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/policy/model"
)

// Where the way of a packet parts by the interface, or the port of a bridge, that leads to a local pod.

// parting writes the chain that does what rules do for each interface, or port of
// a bridge, that leads to a local pod; all else goes on to rest.
func (g *generator) parting(name string, list []base.Rule, rest string) string {
	helper := chainPrefix + "k-" + naming.Hash(name, rest)
	rules := g.uplinks("-i", "-g "+rest)
	for i := range list {
		plain := list[i]
		plain.If = slices.DeleteFunc(slices.Clone(plain.If), func(t base.Test) bool { return t.Kind == base.FromLink || t.Kind == base.ToLink })
		out := slices.ContainsFunc(list[i].If, func(t base.Test) bool { return t.Kind == base.ToLink })
		for _, link := range g.linkMatches(out) {
			for _, t := range g.one(&plain) {
				rules = append(rules, rule{strings.TrimSpace(t.match + " " + link), t.target, t.comment})
			}
		}
	}
	g.chain(helper, append(rules, rule{"", "-g " + rest, ""})...)
	return helper
}

// links writes the chain that does what a rule does for each interface, or port
// of a bridge, that leads to a local pod, and comes back.
func (g *generator) links(name string, i int, r *base.Rule) string {
	helper := chainPrefix + "k-" + naming.Hash(name, fmt.Sprint(i))
	out := slices.ContainsFunc(r.If, func(t base.Test) bool { return t.Kind == base.ToLink })
	plain := *r
	plain.If = nil
	rules := g.uplinks("-i", "-j RETURN")
	if out {
		rules = g.uplinks("-o", "-j RETURN")
	}
	for _, match := range g.linkMatches(out) {
		for _, t := range g.one(&plain) {
			// What comes back from there has no other interface to be found here.
			rules = append(rules, rule{match, strings.Replace(t.target, "-j "+chainPrefix, "-g "+chainPrefix, 1), ""})
		}
	}
	g.chain(helper, rules...)
	return helper
}

// uplinks are rules for the interfaces by which most of what is not pods' comes
// and goes, so that it does not try those of all pods.
func (g *generator) uplinks(flag, target string) []rule {
	var rules []rule
	for _, r := range g.state.Links.Routes {
		one := rule{fmt.Sprintf("%s %q", flag, naming.Plain(r.Interface, 15)), target, ""}
		if r.Net.Bits() == 0 && dataplane.FamilyOf(r.Net.Addr()) == g.family && !g.state.Links.LeadsToPods(r.Interface) && !slices.Contains(rules, one) {
			rules = append(rules, one)
		}
	}
	return rules
}

// linkMatches match each interface and each port of a bridge that leads to a
// local pod, for packets that come or, with out, leave by it; and the bridge, for
// packets of workloads by ports of it that no local pod is known to be behind.
func (g *generator) linkMatches(out bool) []string {
	if g.state.Links == nil {
		return nil
	}
	var list []string
	for i := range g.state.Links.Pods {
		p := g.state.Links.Pods[i]
		list = append(list, linkMatch(&p, out))
		p.Port = ""
		list = append(list, linkMatch(&p, out))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func linkMatch(p *model.PodLink, out bool) string {
	switch {
	case p.Port != "" && out:
		return fmt.Sprintf("-m physdev --physdev-is-bridged --physdev-out %q", naming.Plain(p.Port, 15))
	case p.Port != "":
		return fmt.Sprintf("-m physdev --physdev-in %q", naming.Plain(p.Port, 15))
	case out:
		return fmt.Sprintf("-o %q", naming.Plain(p.Interface, 15))
	}
	return fmt.Sprintf("-i %q", naming.Plain(p.Interface, 15))
}

// byLinkAndGone reports whether a rule parts by the interface by which a packet
// comes, for good.
func byLinkAndGone(r *base.Rule) bool {
	return !comesBack(r.Then) && slices.ContainsFunc(r.If, func(t base.Test) bool { return t.Kind == base.FromLink || t.Kind == base.ToLink })
}

// byLink is the chain that leads from interfaces and ports to the programs of the pods behind them.
// What no pod is behind is dropped for a guard, or counted, if there is one.
func (g *generator) byLink(r *base.Rule) string {
	dir := r.Direction
	name := chainPrefix + "by-link-" + map[model.Direction]string{model.Egress: "e", model.Ingress: "i"}[dir]
	return g.once(name, func() []rule {
		var rules []rule
		for i := range g.state.Links.Pods {
			p := &g.state.Links.Pods[i]
			e, ok := g.owners[p.Addr]
			match := linkMatch(p, dir == model.Ingress)
			switch {
			case !ok || slices.ContainsFunc(rules, func(r rule) bool { return r.match == match }):
			case r.Counted && e.Policy == nil:
			case !e.HasPolicies(g.family):
				rules = append(rules, rule{match, "-j RETURN", ""})
			default:
				rules = append(rules, g.toPod(match, e, dir, g.entry))
			}
		}
		if r.Guard != "" {
			rules = append(rules, rule{"", "-j " + g.guardChain(r.Guard, r.Counted), ""})
		}
		return rules
	})
}
