package oracle_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// replica is what a consumer of deltas would hold: it is changed by deltas alone
// and takes offence at every one that does not fit.
type replica struct {
	sets      map[string]map[index.Member]bool
	byID      map[string]*index.Set
	classes   map[uint64]*index.Effective
	endpoints map[model.Ref]index.EndpointDelta
	lastClass uint64
}

func newReplica() *replica {
	return &replica{
		sets:      map[string]map[index.Member]bool{},
		byID:      map[string]*index.Set{},
		classes:   map[uint64]*index.Effective{},
		endpoints: map[model.Ref]index.EndpointDelta{},
	}
}

func (r *replica) apply(d *index.Delta) error {
	lastSet := ""
	for _, sd := range d.Sets {
		id := sd.Set.ID()
		if id <= lastSet {
			return fmt.Errorf("sets of the delta are out of order: %s after %s", id, lastSet)
		}
		lastSet = id
		if err := r.applySet(id, sd); err != nil {
			return fmt.Errorf("set %s (%s): %w", id, sd.Set, err)
		}
	}
	for _, e := range d.Added {
		if e.ID <= r.lastClass {
			return fmt.Errorf("effective policy %d is added after %d", e.ID, r.lastClass)
		}
		r.lastClass = e.ID
		r.classes[e.ID] = e
	}
	lastRemoved := uint64(0)
	for _, e := range d.Removed {
		if r.classes[e.ID] != e {
			return fmt.Errorf("effective policy %d is removed and not there", e.ID)
		}
		if e.ID <= lastRemoved {
			return fmt.Errorf("removed effective policies are out of order")
		}
		lastRemoved = e.ID
		delete(r.classes, e.ID)
	}
	var lastRef model.Ref
	for _, ed := range d.Endpoints {
		if lastRef.Compare(ed.Ref) >= 0 {
			return fmt.Errorf("endpoints of the delta are out of order: %s after %s", ed.Ref, lastRef)
		}
		lastRef = ed.Ref
		old, had := r.endpoints[ed.Ref]
		switch {
		case ed.Endpoint == nil && (ed.Effective != nil || !had):
			return fmt.Errorf("endpoint %s is gone and was not there (or has a policy)", ed.Ref)
		case ed.Endpoint == nil:
			delete(r.endpoints, ed.Ref)
			continue
		case ed.Effective == nil || ed.Endpoint.Ref != ed.Ref:
			return fmt.Errorf("endpoint %s has no policy or another's name", ed.Ref)
		case had && old.Effective == ed.Effective && localText(old.Endpoint) == localText(ed.Endpoint):
			return fmt.Errorf("endpoint %s is in the delta without a change", ed.Ref)
		}
		r.endpoints[ed.Ref] = ed
	}
	return r.consistent()
}

func (r *replica) applySet(id string, sd index.SetDelta) error {
	members, had := r.sets[id]
	byOrder := func(list []index.Member) bool {
		return slices.IsSortedFunc(list, compareMembers)
	}
	switch {
	case !byOrder(sd.Added) || !byOrder(sd.Removed):
		return fmt.Errorf("members are out of order")
	case sd.New && sd.Gone, sd.New && had, !sd.New && !had:
		return fmt.Errorf("new %v, gone %v, but there: %v", sd.New, sd.Gone, had)
	case sd.New && len(sd.Removed) > 0, sd.Gone && len(sd.Added)+len(sd.Removed) > 0:
		return fmt.Errorf("new or gone with members removed (or added)")
	case !sd.New && !sd.Gone && len(sd.Added)+len(sd.Removed) == 0:
		return fmt.Errorf("in the delta without a change")
	case sd.Gone:
		delete(r.sets, id)
		delete(r.byID, id)
		return nil
	case sd.New:
		members = map[index.Member]bool{}
		r.sets[id], r.byID[id] = members, sd.Set
	case r.byID[id] != sd.Set:
		return fmt.Errorf("another object of the same ID")
	}
	for _, m := range sd.Removed {
		if !members[m] {
			return fmt.Errorf("%v is removed and not there", m)
		}
		delete(members, m)
	}
	for _, m := range sd.Added {
		if members[m] {
			return fmt.Errorf("%v is added and there already", m)
		}
		members[m] = true
	}
	return nil
}

// consistent: every endpoint has a known class, every class an endpoint, classes
// differ in content, and the sets are those that the classes refer to.
func (r *replica) consistent() error {
	used := map[uint64]bool{}
	for ref, e := range r.endpoints {
		if r.classes[e.Effective.ID] != e.Effective {
			return fmt.Errorf("endpoint %s has effective policy %d, which no delta has added", ref, e.Effective.ID)
		}
		used[e.Effective.ID] = true
	}
	contents := map[string]uint64{}
	needed := map[string]bool{}
	for id, e := range r.classes {
		if !used[id] {
			return fmt.Errorf("effective policy %d has no endpoint and was not removed", id)
		}
		text := effectiveText(e)
		if other, ok := contents[text]; ok {
			return fmt.Errorf("effective policies %d and %d are the same:\n%s", id, other, text)
		}
		contents[text] = id
		for _, s := range setsOf(e) {
			needed[s.ID()] = true
			if r.byID[s.ID()] != s {
				return fmt.Errorf("set %s (%s) is referred to and no delta has brought it", s.ID(), s)
			}
		}
	}
	for id, s := range r.byID {
		if !needed[id] {
			return fmt.Errorf("set %s (%s) is there and nothing refers to it", id, s)
		}
		if got := slices.SortedFunc(mapKeys(r.sets[id]), compareMembers); !slices.Equal(got, s.Members()) {
			return fmt.Errorf("set %s (%s): deltas make it %v, it says %v", id, s, got, s.Members())
		}
		if s.Len() != len(r.sets[id]) {
			return fmt.Errorf("set %s (%s): %d members, Len says %d", id, s, len(r.sets[id]), s.Len())
		}
	}
	return nil
}

// equals compares with the state of another replica, in which IDs of classes may differ.
func (r *replica) equals(o *replica) error {
	a, b := r.text(), o.text()
	if a == b {
		return nil
	}
	return fmt.Errorf("--- by deltas\n%s--- from scratch\n%s", a, b)
}

func (r *replica) text() string {
	var b strings.Builder
	for _, id := range slices.Sorted(mapKeys(r.sets)) {
		fmt.Fprintf(&b, "set %s %s %v\n", id, r.byID[id], slices.SortedFunc(mapKeys(r.sets[id]), compareMembers))
	}
	for _, ref := range slices.SortedFunc(mapKeys(r.endpoints), model.Ref.Compare) {
		e := r.endpoints[ref]
		fmt.Fprintf(&b, "%s\n%s", localText(e.Endpoint), effectiveText(e.Effective))
	}
	return b.String()
}

func localText(e *index.LocalEndpoint) string {
	host := ""
	if e.Host != nil {
		host = fmt.Sprintf("%+v", *e.Host)
	}
	return fmt.Sprintf("endpoint %s on %q %v %s", e.Ref, e.Node, e.Addrs, host)
}

// effectiveText is an effective policy in full but for its ID.
func effectiveText(e *index.Effective) string {
	var b strings.Builder
	fmt.Fprintf(&b, "host %v default %s\n", e.Host, e.DefaultAction)
	for _, c := range chains(e) {
		for _, t := range c.chain {
			fmt.Fprintf(&b, "%s: tier %+v enforced %v\n", c.name, *t.Tier, t.Enforced)
			for _, p := range t.Policies {
				fmt.Fprintf(&b, "  %s order %v %s audit %v %v %v %v %v %v\n", p.Ref, p.Order, p.Selector, p.Audit,
					p.DoNotTrack, p.PreDNAT, p.ApplyOnForward, p.Ingress, p.Egress)
				for _, rules := range [][]index.Rule{p.ResolvedIngress, p.ResolvedEgress} {
					for _, r := range rules {
						fmt.Fprintf(&b, "    %d %s %s %s", r.Index, r.Name, r.Action, matchText(r.Match))
						for _, ps := range []index.PeerSets{r.Source, r.Destination} {
							for _, s := range setsOfPeer(ps) {
								fmt.Fprintf(&b, " %s", s.ID())
							}
							b.WriteString(";")
						}
						b.WriteString("\n")
					}
				}
			}
		}
	}
	return b.String()
}

func matchText(m model.Match) string {
	text := fmt.Sprintf("%v %d %s !%s", m.Never, m.IPVersion, m.Protocol, m.NotProtocol)
	for _, i := range []*model.ICMP{m.ICMP, m.NotICMP} {
		if i != nil {
			text += fmt.Sprintf(" icmp %d", i.Type)
			if i.Code != nil {
				text += fmt.Sprintf("/%d", *i.Code)
			}
		}
	}
	for _, p := range []model.Peer{m.Source, m.Destination} {
		text += fmt.Sprintf(" [%v !%v", p.Nets, p.NotNets)
		if p.Selector != nil {
			text += " " + p.Selector.String()
		}
		if p.NotSelector != nil {
			text += " ! " + p.NotSelector.String()
		}
		text += fmt.Sprintf(" %v %v %v %v !%v]", p.Domains, p.Service, p.ServicePorts, p.Ports, p.NotPorts)
	}
	return text
}

type namedChain struct {
	name  string
	chain index.Chain
}

func chains(e *index.Effective) []namedChain {
	return []namedChain{
		{"ingress", e.Ingress}, {"egress", e.Egress},
		{"forward ingress", e.ForwardIngress}, {"forward egress", e.ForwardEgress},
		{"untracked ingress", e.UntrackedIngress}, {"untracked egress", e.UntrackedEgress},
		{"preDNAT", e.PreDNAT},
	}
}

// setsOf are the sets of the rules that a packet can meet: those of a chain's own direction.
func setsOf(e *index.Effective) []*index.Set {
	var sets []*index.Set
	for _, c := range chains(e) {
		for _, t := range c.chain {
			for _, p := range t.Policies {
				for _, rules := range [][]index.Rule{p.ResolvedIngress, p.ResolvedEgress} {
					for _, r := range rules {
						sets = append(sets, setsOfPeer(r.Source)...)
						sets = append(sets, setsOfPeer(r.Destination)...)
					}
				}
			}
		}
	}
	return sets
}

func setsOfPeer(p index.PeerSets) []*index.Set {
	all := slices.Concat([]*index.Set{p.Selector, p.NotSelector, p.Service, p.Domains}, p.NamedPorts, p.NotNamedPorts)
	return slices.DeleteFunc(all, func(s *index.Set) bool { return s == nil })
}

func compareMembers(a, b index.Member) int {
	if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
		return c
	}
	if c := a.Prefix.Bits() - b.Prefix.Bits(); c != 0 {
		return c
	}
	if c := int(a.Protocol) - int(b.Protocol); c != 0 {
		return c
	}
	return int(a.Port) - int(b.Port)
}

// contains is what a set's members mean.
func contains(members map[index.Member]bool, kind index.SetKind, a netip.Addr, proto model.Protocol, port uint16) bool {
	for m := range members {
		if m.Prefix.Contains(a) && (kind == index.SetAddrs || m.Protocol == proto && (m.Port == 0 || m.Port == port)) {
			return true
		}
	}
	return false
}

func mapKeys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
