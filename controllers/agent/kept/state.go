package kept

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// State is what is kept. Take makes it and Objects reads it; in between it is only
// encoded.
type State struct {
	Settings *model.Settings `json:"settings,omitempty"`
	// Nodes are all of the cluster: the tunnels between their addresses stay open.
	Nodes    []*model.Node     `json:"nodes,omitempty"`
	Tiers    []tier            `json:"tiers,omitempty"`
	Hosts    []*model.Endpoint `json:"hosts,omitempty"`
	Policies []keptPolicy      `json:"policies,omitempty"`
	// Sets are what the rules of the policies refer to, by the sets' IDs.
	Sets []set `json:"sets,omitempty"`
}

// tier is a tier. Its order is nil if it has none: JSON has no infinity.
type tier struct {
	model.Tier
	Order *float64
}

// set is the members of a policy.Set.
type set struct {
	ID string
	// Service: it is kept as a Service, for its members have ports, or a rule names a
	// Service; else as a network set.
	Service, Ports bool
	// Members, sorted, as "10.1.0.0/24" or, with ports, "10.1.0.1/32 TCP 80".
	Members []string
}

// newSet keeps a set without the addresses of pods of the node.
func newSet(s *index.Set, ofNode func(netip.Prefix) bool) set {
	sel, _ := s.Selector()
	out := set{ID: s.ID(), Ports: s.Kind() == index.SetAddrPorts}
	out.Service = out.Ports || sel == nil && !s.ByName()
	for _, m := range s.Members() {
		if ofNode(m.Prefix) {
			continue
		}
		text := m.Prefix.String()
		if out.Ports {
			text += fmt.Sprintf(" %s %d", m.Protocol, m.Port)
		}
		out.Members = append(out.Members, text)
	}
	return out
}

// member reads what newSet has written.
func (s *set) member(text string) (m index.Member, err error) {
	f := strings.Split(text, " ")
	if want := map[bool]int{false: 1, true: 3}[s.Ports]; len(f) != want {
		return m, fmt.Errorf("set %q: member %q is not valid", s.ID, text)
	}
	if m.Prefix, err = netip.ParsePrefix(f[0]); err == nil && (!validNet(m.Prefix) || s.Service && !m.Prefix.IsSingleIP()) {
		err = errors.New("address is not valid")
	}
	if err == nil && s.Ports {
		var port uint64
		port, err = strconv.ParseUint(f[2], 10, 16)
		err = errors.Join(err, m.Protocol.UnmarshalText([]byte(f[1])))
		m.Port = uint16(port)
	}
	if err != nil {
		return m, fmt.Errorf("set %q: member %q: %w", s.ID, text, err)
	}
	return m, nil
}

// labelHost and labelSet are the labels of what is kept, by which policies select
// hosts and rules match sets again.
const (
	labelHost = "tierwall.io/kept-host"
	labelSet  = "tierwall.io/kept-set"
)

// services is the namespace of the Services that some sets are kept as. No namespace
// can have this name.
const services = ".kept"

func orderOf(f float64) *float64 {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil
	}
	return &f
}

func orderFrom(f *float64) float64 {
	if f == nil || math.IsNaN(*f) {
		return model.NoOrder
	}
	return *f
}

// Take returns the part of an index to keep for a node, as of the last Flush. hosts
// are the host endpoints of the node, as they were put into the index. The State
// shares nothing with the index that changes later.
func Take(ix *index.Index, node string, hosts []*model.Endpoint) *State {
	s := &State{Settings: ix.Settings(), Nodes: withoutLabels(ix.Nodes())}
	t := taker{sets: map[string]*index.Set{}, selects: map[*index.Policy][]string{}}
	for _, h := range hosts {
		eff := ix.Effective(h.Ref)
		if h.Node != node || h.Host == nil || eff == nil {
			continue
		}
		s.Hosts = append(s.Hosts, &model.Endpoint{Ref: h.Ref, Node: h.Node, Addrs: h.Addrs, Host: h.Host})
		t.take(h.Ref.Name, eff)
	}
	if len(s.Hosts) == 0 {
		return s
	}
	for _, x := range ix.Tiers() {
		s.Tiers = append(s.Tiers, tier{*x, orderOf(x.Order)})
		s.Tiers[len(s.Tiers)-1].Tier.Order = 0
	}
	s.Policies = t.policies()
	ofNode := func(p netip.Prefix) bool {
		r := model.Ref{}
		if p.IsSingleIP() {
			r = ix.Owner(p.Addr())
		}
		e, ok := ix.Endpoint(r)
		return ok && r.Kind == model.KindPod && e.Node == node
	}
	for _, id := range slices.Sorted(maps.Keys(t.sets)) {
		s.Sets = append(s.Sets, newSet(t.sets[id], ofNode))
	}
	return s
}

func withoutLabels(nodes []*model.Node) []*model.Node {
	out := make([]*model.Node, len(nodes))
	for i, n := range nodes {
		out[i] = &model.Node{Name: n.Name, Addrs: n.Addrs, PodCIDRs: n.PodCIDRs}
	}
	return out
}

// Blocks returns what is left to keep where the whole is too large: settings and
// the node's own blocks of pod addresses.
func (s *State) Blocks(node string) *State {
	out := &State{Settings: s.Settings}
	for _, n := range s.Nodes {
		if n != nil && n.Name == node {
			out.Nodes = append(out.Nodes, n)
		}
	}
	return out
}

// Objects returns the objects to put into an index, or an error if the State cannot
// be what Take has made.
func (s *State) Objects() ([]model.Object, error) {
	var out []model.Object
	if s.Settings != nil {
		out = append(out, s.Settings)
	}
	for _, n := range s.Nodes {
		if n == nil || n.Name == "" || !validAddrs(n.Addrs) || !validNets(n.PodCIDRs) {
			return nil, errors.New("a node is not valid")
		}
		out = append(out, n)
	}
	for _, t := range s.Tiers {
		if t.Name == "" || t.DefaultAction != model.Deny && t.DefaultAction != model.Pass {
			return nil, fmt.Errorf("tier %q is not valid", t.Name)
		}
		x := t.Tier
		x.Order = orderFrom(t.Order)
		if !x.Missing { // it comes back by the policies that name it
			out = append(out, &x)
		}
	}
	for _, h := range s.Hosts {
		if h == nil || h.Ref.Kind != model.KindHostEndpoint || h.Ref.Name == "" || h.Host == nil || !validAddrs(h.Addrs) {
			return nil, errors.New("a host endpoint is not valid")
		}
		if a := h.Host.DefaultAction; a != model.Allow && a != model.Deny {
			return nil, fmt.Errorf("%s: default action %q is not valid", h.Ref, a)
		}
		x := *h
		x.Labels = map[string]string{labelHost: h.Ref.Name}
		out = append(out, &x)
	}
	sets := map[string]*set{}
	for i := range s.Sets {
		x := &s.Sets[i]
		objects, err := x.objects()
		if err != nil {
			return nil, err
		}
		sets[x.ID] = x
		out = append(out, objects...)
	}
	for i := range s.Policies {
		p, err := s.Policies[i].policy(sets)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// objects are a network set, or the endpoints of a Service.
func (s *set) objects() ([]model.Object, error) {
	if s.ID == "" || s.Ports && !s.Service {
		return nil, fmt.Errorf("set %q is not valid", s.ID)
	}
	ports := map[model.ServicePort][]netip.Addr{}
	var nets []netip.Prefix
	for _, text := range s.Members {
		m, err := s.member(text)
		if err != nil {
			return nil, err
		}
		p := model.ServicePort{Protocol: m.Protocol, Port: m.Port}
		ports[p] = append(ports[p], m.Prefix.Addr())
		nets = append(nets, m.Prefix)
	}
	if !s.Service {
		return []model.Object{&model.NetworkSet{
			Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: "kept-" + s.ID}, Labels: map[string]string{labelSet: s.ID}, Nets: nets,
		}}, nil
	}
	var out []model.Object
	for _, p := range slices.SortedFunc(maps.Keys(ports), comparePorts) {
		x := &model.ServiceSlice{
			Ref:     model.Ref{Kind: model.KindEndpointSlice, Namespace: services, Name: fmt.Sprintf("%s-%d-%d", s.ID, p.Protocol, p.Port)},
			Service: s.ID, Addrs: ports[p],
		}
		if s.Ports {
			x.Ports = []model.ServicePort{p}
		}
		out = append(out, x)
	}
	return out, nil
}

func comparePorts(a, b model.ServicePort) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// selectorOf matches the network set that a set of addresses is kept as.
func selectorOf(id string) *selector.Selector { return selector.Equal(labelSet, id) }

func validNet(p netip.Prefix) bool {
	return p.IsValid() && p == p.Masked() && !p.Addr().Is4In6() && p.Addr().Zone() == ""
}

func validNets(list []netip.Prefix) bool {
	return !slices.ContainsFunc(list, func(p netip.Prefix) bool { return !validNet(p) })
}

func validAddrs(list []netip.Addr) bool {
	return !slices.ContainsFunc(list, func(a netip.Addr) bool { return !a.IsValid() || a.Is4In6() || a.Zone() != "" })
}
