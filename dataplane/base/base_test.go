package base

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// states are nodes of all sorts: with and without interfaces, bridges, tunnels and
// host endpoints, under all modes of guards.
func states() map[string]*dataplane.State {
	out := map[string]*dataplane.State{}
	for _, iface := range []string{"none", "", "eth0", "*"} {
		for _, port := range []string{"no links", "", "veth1"} {
			for _, guard := range []model.Guard{model.GuardEnforce, model.GuardCount, model.GuardOff} {
				for _, toHost := range []model.EndpointToHost{model.ToHostAccept, model.ToHostDrop, model.ToHostReturn} {
					s := state(iface, port, guard, toHost)
					name := fmt.Sprintf("host endpoint %q, port %q, guards %v, to host %d", iface, port, guard, toHost)
					out[name] = s
					waiting := *s
					waiting.Answers = &dataplane.Answers{Servers: []netip.Addr{netip.MustParseAddr("10.1.0.9")}, Pods: []netip.Addr{netip.MustParseAddr("10.1.0.2")}, Host: iface != "none"}
					out[name+", answers wait"] = &waiting
				}
			}
		}
	}
	return out
}

func state(iface, port string, guard model.Guard, toHost model.EndpointToHost) *dataplane.State {
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n1" }})
	s := model.DefaultSettings()
	s.Guards = model.Guards{Source: guard, Link: guard, Encapsulation: guard, Wildcard: guard}
	s.EndpointToHost = toHost
	own, pod := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.1.0.2")
	ix.Upsert(s)
	ix.Upsert(&model.Node{Name: "n1", Addrs: []netip.Addr{own}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}})
	ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "web"}, Node: "n1", Addrs: []netip.Addr{pod}})
	if iface != "none" {
		ix.Upsert(&model.Endpoint{
			Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "host"}, Node: "n1", Addrs: []netip.Addr{own},
			Host: &model.HostEndpoint{Interface: iface, DefaultAction: model.Deny},
		})
		for i, p := range []model.Policy{{DoNotTrack: true, ApplyOnForward: true}, {PreDNAT: true, ApplyOnForward: true}, {ApplyOnForward: true}} {
			p.Ref, p.Tier = model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: fmt.Sprint("p", i)}, "default"
			p.Selector, p.Ingress = selector.All(), true
			p.Egress = !p.PreDNAT
			ix.Upsert(&p)
		}
	}
	if port != "no links" {
		ix.Upsert(&model.Links{
			Node: "n1", Pods: []model.PodLink{{Addr: pod, Interface: "cni0", Port: port}},
			Routes:  []model.LinkRoute{{Net: netip.MustParsePrefix("0.0.0.0/0"), Interface: "eth0"}},
			Tunnels: []model.Tunnel{{Interface: "vx", Protocol: model.UDP, Port: 4789}, {Interface: "wg", Protocol: model.UDP}},
		})
	}
	c := dataplane.NewCompiler(dataplane.Options{})
	c.Apply(ix.Flush())
	return dataplane.NewState(ix, "n1", c)
}

func hostsOf(s *dataplane.State) (out dataplane.Hosts) {
	for _, e := range s.Compiled.Endpoints() {
		if e.Host != nil {
			out = append(out, e)
		}
	}
	return out
}

// TestChains holds what every backend relies on.
func TestChains(t *testing.T) {
	for name, s := range states() {
		for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
			for _, late := range []bool{true, false} {
				tables := New(s, hostsOf(s), f, Options{PortsAtPostrouting: late, NoPairs: !late})
				seen := map[string]Chain{}
				for _, list := range [][]Chain{tables.Raw, tables.Mangle, tables.Filter} {
					for _, problem := range problems(list) {
						t.Errorf("%s, %v, late ports %v: %s", name, f, late, problem)
					}
					for _, c := range list {
						if old, ok := seen[c.Name]; ok && !reflect.DeepEqual(old, c) {
							t.Errorf("%s, %v: chain %s is not the same in two tables", name, f, c.Name)
						}
						seen[c.Name] = c
					}
				}
			}
		}
	}
}

// problems are what is wrong with the chains of one table.
func problems(list []Chain) (out []string) {
	chains := map[string]Chain{}
	for _, c := range list {
		if _, twice := chains[c.Name]; twice {
			out = append(out, "duplicate chain "+c.Name)
		}
		if len(c.Name) > 20 {
			out = append(out, "the name of chain "+c.Name+" is too long")
		}
		chains[c.Name] = c
	}
	// An accept leaves the hook, which it cannot where something has been jumped to.
	jumped := map[string]bool{}
	var enter func(name string)
	enter = func(name string) {
		if jumped[name] {
			return
		}
		jumped[name] = true
		for _, r := range chains[name].Rules {
			if r.Then == Goto || r.Then == Jump {
				enter(r.Chain)
			}
			if r.Then == Accept || r.Then == Include {
				out = append(out, "chain "+name+" accepts, and is jumped to")
			}
		}
	}
	for _, c := range list {
		for _, r := range c.Rules {
			if r.Then != Jump && r.Then != Goto && r.Then != Include {
				continue
			}
			to, ok := chains[r.Chain]
			switch {
			case !ok:
				out = append(out, "chain "+c.Name+" leads to "+r.Chain+", which is not there")
			case to.Asked != (r.Then == Include):
				out = append(out, "chain "+c.Name+" enters "+r.Chain+" the wrong way")
			case r.Then == Jump:
				enter(r.Chain)
			}
		}
	}
	return out
}

// TestNothingIsKnown: a node of which no interface is known has no guards.
func TestNothingIsKnown(t *testing.T) {
	tables := New(state("none", "no links", model.GuardEnforce, model.ToHostAccept), nil, dataplane.IPv4, Options{})
	if len(tables.Raw)+len(tables.Mangle) > 0 {
		t.Errorf("there are early tables: %v %v", tables.Raw, tables.Mangle)
	}
	for _, c := range tables.Filter {
		for _, r := range c.Rules {
			if r.Guard != "" {
				t.Errorf("chain %s has guard %s", c.Name, r.Guard)
			}
		}
	}
}

// TestItself: what a pod sends itself meets no host endpoint that guards pods' links.
func TestItself(t *testing.T) {
	for name, s := range states() {
		for _, pairs := range []bool{true, false} {
			for _, c := range New(s, hostsOf(s), dataplane.IPv4, Options{NoPairs: !pairs}).Filter {
				if c.Point == Forward && pairs && !precedes(c.Rules, Goto, "itself", Jump, "passing-out") {
					t.Errorf("%s: packets of a pod to itself meet host endpoints", name)
				}
				if c.Name != "passing-in" && c.Name != "passing-out" || pairs {
					continue
				}
				star := hostsOf(s).Wildcard()
				if left := slices.ContainsFunc(c.Rules[0].If, func(t Test) bool { return t.Kind == PairIn }); left != (star != nil && s.Settings.Guards.Wildcard != model.GuardOff) {
					t.Errorf("%s: %s leaves out packets of a pod to itself: %v", name, c.Name, left)
				}
			}
		}
	}
}

// precedes reports whether a rule that leads to a chain comes before one that leads to another, if that is there.
func precedes(rules []Rule, then Action, chain string, otherThen Action, other string) bool {
	first := slices.IndexFunc(rules, func(r Rule) bool { return r.Then == then && r.Chain == chain })
	second := slices.IndexFunc(rules, func(r Rule) bool { return r.Then == otherThen && r.Chain == other })
	return first >= 0 && (second < 0 || first < second)
}

// TestCounting: a guard that counts has no rule that drops.
func TestCounting(t *testing.T) {
	for name, s := range states() {
		if s.Settings.Guards.Link != model.GuardCount {
			continue
		}
		for _, late := range []bool{true, false} {
			for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
				tables := New(s, hostsOf(s), f, Options{PortsAtPostrouting: late})
				for _, c := range slices.Concat(tables.Raw, tables.Mangle, tables.Filter) {
					for _, r := range c.Rules {
						if r.Guard != "" && r.Then != Count && !r.Counted {
							t.Errorf("%s: chain %s drops for guard %s", name, c.Name, r.Guard)
						}
						if (r.Then == ByLink || r.Then == ByPort) && !r.Counted {
							t.Errorf("%s: chain %s denies by a pod's program", name, c.Name)
						}
					}
				}
			}
		}
	}
}
