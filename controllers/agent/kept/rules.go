package kept

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// keptPolicy is a policy that selects host endpoints of the node. Fields of the
// same name stand in for those of the model that JSON cannot hold.
type keptPolicy struct {
	model.Policy
	Order *float64
	// Hosts are the names of the host endpoints that it selects.
	Hosts                     []string
	Selector, Problems        *struct{} // not kept
	IngressRules, EgressRules []keptRule
}

// keptRule is a rule whose selectors, services and named ports are kept as sets.
type keptRule struct {
	model.Rule
	Source, Destination keptPeer
}

// keptPeer is the IDs of a side's sets; empty where the rule sets none.
type keptPeer struct {
	Selector, NotSelector string
	// Service is the endpoints of a Service.
	Service string
	// Named is the ports of one name. A rule with several ports is kept as several.
	Named string
}

// taker collects the policies of host endpoints and the sets of their rules.
type taker struct {
	sets    map[string]*index.Set
	selects map[*index.Policy][]string
}

func (t *taker) take(host string, eff *index.Effective) {
	for _, chain := range []index.Chain{
		eff.Ingress, eff.Egress, eff.ForwardIngress, eff.ForwardEgress, eff.UntrackedIngress, eff.UntrackedEgress, eff.PreDNAT,
	} {
		for _, tier := range chain {
			for _, p := range tier.Policies {
				if !slices.Contains(t.selects[p], host) {
					t.selects[p] = append(t.selects[p], host)
				}
			}
		}
	}
}

func (t *taker) policies() []keptPolicy {
	var out []keptPolicy
	for _, p := range slices.SortedFunc(maps.Keys(t.selects), func(a, b *index.Policy) int { return a.Ref.Compare(b.Ref) }) {
		k := keptPolicy{Policy: *p.Policy, Order: orderOf(p.Order), Hosts: t.selects[p]}
		k.Policy.Order, k.Policy.Selector, k.Policy.Problems, k.Policy.IngressRules, k.Policy.EgressRules = 0, nil, nil, nil, nil
		k.IngressRules, k.EgressRules = t.rules(p.ResolvedIngress), t.rules(p.ResolvedEgress)
		out = append(out, k)
	}
	return out
}

func (t *taker) rules(list []index.Rule) []keptRule {
	var out []keptRule
	for i := range list {
		r := &list[i]
		k := keptRule{Rule: *r.Rule}
		if k.Match.Never {
			k.Match = model.Match{Never: true}
			out = append(out, k)
			continue
		}
		k.Source = t.peer(&k.Match.Source, &r.Source)
		k.Destination = t.peer(&k.Match.Destination, &r.Destination)
		if len(r.Source.NotNamedPorts)+len(r.Destination.NotNamedPorts) > 0 {
			failClosed(&k)
		}
		for _, k := range t.perPort(k, func(k *keptRule) (*model.Peer, *keptPeer) { return &k.Match.Source, &k.Source }, r.Source.NamedPorts) {
			out = append(out, t.perPort(k, func(k *keptRule) (*model.Peer, *keptPeer) { return &k.Match.Destination, &k.Destination }, r.Destination.NamedPorts)...)
		}
	}
	return out
}

// failClosed gives a rule whose notPorts name ports a form that can be kept and
// never allows more.
func failClosed(k *keptRule) {
	numbers := func(list []model.Port) []model.Port {
		return slices.DeleteFunc(slices.Clone(list), func(p model.Port) bool { return p.Name != "" })
	}
	switch k.Action {
	case model.Deny, model.Pass:
		k.Action = model.Deny
		k.Match.Source.NotPorts, k.Match.Destination.NotPorts = numbers(k.Match.Source.NotPorts), numbers(k.Match.Destination.NotPorts)
	default:
		k.Match.Never = true
		k.Match.Source.NotPorts, k.Match.Destination.NotPorts = nil, nil
	}
}

// peer keeps a side's sets, and takes what they stand for out of the model's peer.
func (t *taker) peer(p *model.Peer, sets *index.PeerSets) (k keptPeer) {
	keep := func(s *index.Set) string {
		if s == nil {
			return ""
		}
		t.sets[s.ID()] = s
		return s.ID()
	}
	// Names stand beside no selector, and what is known of them is kept as its members would be.
	k.Selector, k.NotSelector, k.Service = cmp.Or(keep(sets.Selector), keep(sets.Domains)), keep(sets.NotSelector), keep(sets.Service)
	p.Selector, p.NotSelector, p.Service, p.Domains = nil, nil, model.ServiceRef{}, nil
	return k
}

// perPort returns the rules that a rule is kept as if it has named ports on a side:
// one with the numbers, and one for each name.
func (t *taker) perPort(k keptRule, side func(*keptRule) (*model.Peer, *keptPeer), named []*index.Set) []keptRule {
	if len(named) == 0 {
		return []keptRule{k}
	}
	var out []keptRule
	p, _ := side(&k)
	if numbers := slices.DeleteFunc(slices.Clone(p.Ports), func(p model.Port) bool { return p.Name != "" }); len(numbers) > 0 {
		one := k
		p, _ := side(&one)
		p.Ports = numbers
		out = append(out, one)
	}
	for _, s := range named {
		t.sets[s.ID()] = s
		one := k
		p, kp := side(&one)
		p.Ports, kp.Named = nil, s.ID()
		out = append(out, one)
	}
	return out
}

// policy is the policy as it goes into an index. sets are those that there are.
func (k *keptPolicy) policy(sets map[string]*set) (*model.Policy, error) {
	p := k.Policy
	if p.Ref.Kind != model.KindGlobalNetworkPolicy && p.Ref.Kind != model.KindCalicoGlobalNetworkPolicy || p.Ref.Name == "" || p.Tier == "" {
		return nil, fmt.Errorf("policy %q is not valid", p.Ref)
	}
	p.Order, p.Problems, p.Selector = orderFrom(k.Order), nil, selector.In(labelHost, k.Hosts...)
	var err error
	if p.IngressRules, err = restoreRules(k.IngressRules, sets); err != nil {
		return nil, fmt.Errorf("%s: ingress: %w", p.Ref, err)
	}
	if p.EgressRules, err = restoreRules(k.EgressRules, sets); err != nil {
		return nil, fmt.Errorf("%s: egress: %w", p.Ref, err)
	}
	return &p, nil
}

func restoreRules(list []keptRule, sets map[string]*set) ([]model.Rule, error) {
	var out []model.Rule
	for i := range list {
		k := &list[i]
		if k.Action < model.Allow || k.Action > model.Pass {
			return nil, fmt.Errorf("rule %d: action %q is not valid", k.Index, k.Action)
		}
		r := k.Rule
		for _, side := range []struct {
			peer *model.Peer
			kept *keptPeer
		}{{&r.Match.Source, &k.Source}, {&r.Match.Destination, &k.Destination}} {
			if err := side.kept.restore(side.peer, sets); err != nil {
				return nil, fmt.Errorf("rule %d: %w", k.Index, err)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// restore puts the sets of a side back as what matches them.
func (k *keptPeer) restore(p *model.Peer, sets map[string]*set) error {
	p.Selector, p.NotSelector, p.Service, p.Domains = nil, nil, model.ServiceRef{}, nil
	if !validNets(p.Nets) || !validNets(p.NotNets) || !validPorts(p.Ports) || !validPorts(p.NotPorts) {
		return errors.New("nets or ports are not valid")
	}
	for _, x := range []struct {
		id      string
		service bool
	}{{k.Selector, false}, {k.NotSelector, false}, {k.Service, true}, {k.Named, true}} {
		if s := sets[x.id]; x.id != "" && (s == nil || s.Service != x.service) {
			return fmt.Errorf("set %q is missing, or of the wrong kind", x.id)
		}
	}
	if k.Named != "" && (k.Service != "" || !sets[k.Named].Ports) {
		return fmt.Errorf("named ports of set %q are not valid", k.Named)
	}
	if k.Selector != "" {
		p.Selector = selectorOf(k.Selector)
	}
	if k.NotSelector != "" {
		p.NotSelector = selectorOf(k.NotSelector)
	}
	p.ServicePorts = false
	if id := cmp.Or(k.Named, k.Service); id != "" {
		p.Service, p.ServicePorts = model.ServiceRef{Namespace: services, Name: id}, sets[id].Ports
	}
	return nil
}

func validPorts(list []model.Port) bool {
	return !slices.ContainsFunc(list, func(p model.Port) bool { return p.Name != "" || p.First > p.Last })
}
