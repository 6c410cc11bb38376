package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/translate"
)

var directions = []model.Direction{model.Ingress, model.Egress}

// neverMatches reports rules that match no packet whatever the peers are.
func (l *linter) neverMatches() {
	for _, p := range l.ix.Policies() {
		for _, dir := range directions {
			groups := groupRules(p.Rules(dir))
			for _, g := range groups {
				why := ""
				for i := range g.rules {
					why = contradiction(&g.rules[i].Match)
					if why == "" {
						break
					}
				}
				if why != "" && !onPurpose(&g.rules[0]) {
					l.add(Finding{Severity: Warning, Code: CodeNeverMatches, Object: p.Ref, Field: ruleField(dir, g.index), Message: "never matches: " + why})
				}
			}
		}
	}
}

// onPurpose reports whether a translation made a rule match nothing, and reported that
// itself.
func onPurpose(r *model.Rule) bool {
	_, ok := r.Annotations[translate.UntranslatedAnnotation]
	return ok
}

// ruleGroup is the rules of the model that stand for one rule of an object.
type ruleGroup struct {
	index int
	rules []model.Rule
}

func groupRules(rules []model.Rule) []ruleGroup {
	var out []ruleGroup
	for _, r := range rules {
		if n := len(out); n > 0 && out[n-1].index == r.Index {
			out[n-1].rules = append(out[n-1].rules, r)
		} else {
			out = append(out, ruleGroup{r.Index, []model.Rule{r}})
		}
	}
	return out
}

// contradiction explains why a rule cannot match anything, or returns "". Rules that
// were invalid have been reported as such.
func contradiction(m *model.Match) string {
	switch {
	case m.Never:
		return ""
	case packets.Static(m).IsEmpty():
		return "its protocols, ports and types contradict each other"
	}
	var families []uint8
	for _, v := range []uint8{4, 6} {
		if m.IPVersion == 0 || m.IPVersion == v {
			families = append(families, v)
		}
	}
	for _, p := range []*model.Peer{&m.Source, &m.Destination} {
		if p.Nets != nil {
			families = slices.DeleteFunc(families, func(v uint8) bool {
				return !slices.ContainsFunc(p.Nets, func(n netip.Prefix) bool { return n.Addr().Is4() == (v == 4) })
			})
		}
	}
	if len(families) == 1 && packets.Static(m).Intersect(packets.Family(families[0])).IsEmpty() {
		return fmt.Sprintf("there is no %s in IPv%d", m.Protocol, families[0])
	}
	for _, side := range []struct {
		name string
		peer *model.Peer
	}{{"source", &m.Source}, {"destination", &m.Destination}} {
		if s := side.peer.Selector; s != nil && s.MatchesNothing() {
			return fmt.Sprintf("the conditions of the %s selectors contradict each other", side.name)
		}
		if side.peer.Nets == nil {
			if coversAll(side.peer.NotNets, families) {
				return fmt.Sprintf("the %s notNets are all addresses", side.name)
			}
			continue
		}
		var in, not []packets.Range
		for _, n := range side.peer.Nets {
			if m.IPVersion == 0 || (m.IPVersion == 4) == n.Addr().Is4() {
				in = append(in, packets.RangeOf(n))
			}
		}
		for _, n := range side.peer.NotNets {
			not = append(not, packets.RangeOf(n))
		}
		switch {
		case len(in) == 0:
			return fmt.Sprintf("no %s net is of IP version %d", side.name, m.IPVersion)
		case len(packets.Without(in, not)) == 0:
			return fmt.Sprintf("the %s notNets exclude all of its nets", side.name)
		}
	}
	return ""
}

// coversAll reports whether address blocks are all addresses of the families.
func coversAll(nets []netip.Prefix, families []uint8) bool {
	var not []packets.Range
	for _, n := range nets {
		not = append(not, packets.RangeOf(n))
	}
	for _, v := range families {
		whole := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if v == 6 {
			whole = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if len(packets.Without([]packets.Range{packets.RangeOf(whole)}, not)) > 0 {
			return false
		}
	}
	return true
}

// unknownReferences reports what rules refer to and does not exist.
func (l *linter) unknownReferences() {
	for _, p := range l.ix.Policies() {
		resolved := l.resolved[p.Ref]
		for _, dir := range directions {
			rules := p.Rules(dir)
			for i := range rules {
				if rules[i].Match.Never {
					continue
				}
				var sets *index.Rule
				if resolved != nil {
					sets = &resolved.Resolved(dir)[i]
				}
				for _, far := range []bool{false, true} {
					l.side(p, dir, &rules[i], sets, far)
				}
			}
		}
	}
}

// side checks one side of a rule: far is the destination.
func (l *linter) side(p *model.Policy, dir model.Direction, r *model.Rule, sets *index.Rule, far bool) {
	peer, field := &r.Match.Source, sideField(p, dir, r, false)
	if far {
		peer, field = &r.Match.Destination, sideField(p, dir, r, true)
	}
	if s := peer.Service; s != (model.ServiceRef{}) {
		ref := model.Ref{Kind: model.KindService, Namespace: s.Namespace, Name: s.Name}
		if !l.known[ref] && !l.hasSlice(s) {
			l.add(Finding{
				Severity: Warning, Code: CodeUnknownService, Object: p.Ref, Field: field,
				Message: fmt.Sprintf("there is no %s: the rule matches nothing", ref), Related: []Related{{Object: ref}},
			})
			return
		}
	}
	unknown := false
	for _, s := range []*selector.Selector{peer.Selector, peer.NotSelector} {
		if s != nil {
			unknown = l.accounts(p, field, s) || unknown
		}
	}
	if sets == nil {
		return // the policy selects nothing, which is a finding of its own
	}
	resolved := &sets.Source
	if far {
		resolved = &sets.Destination
	}
	if s := resolved.Selector; s != nil && s.Len() == 0 && !s.ByName() && s.LeftOut() == nil && !unknown {
		l.add(Finding{
			Severity: Warning, Code: CodePeerMatchesNothing, Object: p.Ref, Field: field,
			Message: fmt.Sprintf("no endpoint and no network set matches %s", readable(s.String())),
		})
	}
	if s := resolved.Service; s != nil && s.Len() == 0 {
		l.add(Finding{
			Severity: Warning, Code: CodePeerMatchesNothing, Object: p.Ref, Field: field,
			Message: fmt.Sprintf("Service/%s/%s has no endpoints", peer.Service.Namespace, peer.Service.Name),
		})
	}
	l.ports(p, r, peer, resolved, field, far == (dir == model.Ingress))
}

// ports reports port names that no endpoint on their side of the rule has. own reports
// whether it is the side of the policy's own endpoints.
func (l *linter) ports(p *model.Policy, r *model.Rule, peer *model.Peer, resolved *index.PeerSets, field string, own bool) {
	n := 0
	for _, port := range peer.Ports {
		if port.Name == "" {
			continue
		}
		set := resolved.NamedPorts[n]
		n++
		found := false
		for _, m := range set.Members() {
			if r.Match.Protocol != model.AnyProtocol && m.Protocol != r.Match.Protocol {
				continue
			}
			if !own || l.selects(p.Ref, m.Prefix.Addr()) {
				found = true
				break
			}
		}
		if !found {
			whose := "no peer of the rule has"
			if own {
				whose = "no endpoint that the policy selects has"
			}
			what := "a port"
			if r.Match.Protocol != model.AnyProtocol {
				what = fmt.Sprintf("a %s port", r.Match.Protocol)
			}
			l.add(Finding{
				Severity: Warning, Code: CodeUnknownPort, Object: p.Ref, Field: field,
				Message: fmt.Sprintf("%s %s named %q: the name matches nothing", whose, what, port.Name),
			})
		}
	}
}

// selects reports whether an address is of an endpoint that a policy selects.
func (l *linter) selects(p model.Ref, a netip.Addr) bool {
	party := l.e.Party(a)
	owner := l.ix.Owner(a)
	selected := l.selected(p)
	has := func(r model.Ref) bool {
		_, found := slices.BinarySearchFunc(selected, r, model.Ref.Compare)
		return found
	}
	return has(owner) || party.Guard != nil && has(party.Guard.Ref)
}

// sideField is the path of one side of a rule, as far as the kinds name sides.
func sideField(p *model.Policy, dir model.Direction, r *model.Rule, far bool) string {
	field := ruleField(dir, r.Index)
	switch p.Ref.Kind {
	case model.KindGlobalNetworkPolicy, model.KindTierwallNetworkPolicy, model.KindCalicoGlobalNetworkPolicy, model.KindCalicoNetworkPolicy:
		if far {
			return field + ".destination"
		}
		return field + ".source"
	}
	switch {
	case !far && dir == model.Ingress:
		return field + ".from"
	case far && dir == model.Egress:
		return field + ".to"
	}
	return field
}

// accounts reports service accounts that a selector requires by name and that no pod
// uses, and reports whether there were any.
func (l *linter) accounts(p *model.Policy, field string, s *selector.Selector) (found bool) {
	var names, namespaces []string
	for _, c := range s.Constraints() {
		switch c.Key {
		case model.LabelServiceAccount:
			names = c.Values
		case model.LabelNamespace:
			namespaces = c.Values
		}
	}
	for _, name := range names {
		if !l.accountExists(name, namespaces) {
			where := ""
			if len(namespaces) == 1 {
				where = " in namespace " + namespaces[0]
			}
			found = true
			l.add(Finding{
				Severity: Warning, Code: CodeUnknownServiceAccount, Object: p.Ref, Field: field,
				Message: fmt.Sprintf("there is no service account %q%s, and no pod runs as one", name, where),
			})
		}
	}
	return found
}

func (l *linter) accountExists(name string, namespaces []string) bool {
	if name == "default" {
		return true // every namespace has it
	}
	in := func(ns string) bool { return len(namespaces) == 0 || slices.Contains(namespaces, ns) }
	for r := range l.known {
		if r.Kind == model.KindServiceAccount && r.Name == name && in(r.Namespace) {
			return true
		}
	}
	for _, x := range l.parties {
		if x.Pod != nil && x.Pod.ServiceAccount == name && in(x.Pod.Ref.Namespace) {
			return true
		}
	}
	return false
}

// hasSlice reports whether any EndpointSlice belongs to a Service.
func (l *linter) hasSlice(s model.ServiceRef) bool {
	for _, p := range l.resolved {
		for _, dir := range directions {
			for _, r := range p.Resolved(dir) {
				for _, side := range []struct {
					ref model.ServiceRef
					set *index.Set
				}{{r.Match.Source.Service, r.Source.Service}, {r.Match.Destination.Service, r.Destination.Service}} {
					if side.ref == s && side.set != nil && side.set.Len() > 0 {
						return true
					}
				}
			}
		}
	}
	return false
}

// readable writes a rewritten selector with the words of the API.
func readable(s string) string {
	s = strings.NewReplacer(
		// Parts that are understood for every peer.
		model.LabelKind+" not in {'"+model.OwnerNamespacedSet+"', '"+model.OwnerNode+"'} && ", "",
		model.LabelKind+" != '"+model.OwnerNode+"' && ", "", model.LabelKind+" == '"+model.OwnerPod+"' && ", "",
		"ns:tierwall.io/name", "namespace name", "sa:tierwall.io/name", "service account name",
		"ns:", "namespace label ", "sa:", "service account label ",
		":kind", "kind", model.LabelNamespace, "namespace", model.LabelServiceAccount, "service account",
	).Replace(s)
	const limit = 200
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
