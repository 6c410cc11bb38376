package iptables

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// goldens are small worlds, each for one thing.
var goldens = map[string]func() []model.Object{
	"empty":    func() []model.Object { return nil },
	"one-node": node,
	"native": func() []model.Object {
		return append(node(), ingress("web", 1000, allow(0, sel("app == 'client'"), 80), allow(1, sel("app == 'client'"), 443)))
	},
	"tiers": func() []model.Object {
		p := ingress("first", 1, model.Rule{Action: model.Pass, Match: model.Match{Source: sel("app == 'client'")}}, model.Rule{Index: 1, Action: model.Log})
		p.Tier = "security"
		return append(node(), &model.Tier{Name: "security", Order: 10, DefaultAction: model.Deny}, p, ingress("web", 1000, allow(0, sel("app == 'client'"), 80)))
	},
	"denied": func() []model.Object { // a sample of what is denied
		return append(node(), ingress("web", 1000, allow(0, sel("app == 'client'"), 80), model.Rule{Index: 1, Action: model.Deny}))
	},
	"table": func() []model.Object {
		p := ingress("many", 1)
		for i := range 12 {
			a := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(100 + i), 0}), 24)
			p.IngressRules = append(p.IngressRules, allow(i, model.Peer{Nets: []netip.Prefix{a}}, 8000+i))
		}
		return append(node(), p)
	},
	"ports": func() []model.Object {
		r := allow(0, model.Peer{}, 80)
		r.Match.Destination.Ports = []model.Port{{First: 80, Last: 80}, {First: 8000, Last: 8100}, {Name: "http"}}
		for i := range 20 {
			r.Match.Destination.Ports = append(r.Match.Destination.Ports, model.Port{First: uint16(1000 + 2*i), Last: uint16(1000 + 2*i)})
		}
		r.Match.Source.NotNets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.1/32")}
		return append(node(), ingress("ports", 1, r))
	},
	"many-pods": func() []model.Object {
		objects := node()
		for i := range 40 {
			objects = append(objects, &model.Endpoint{
				Ref:  model.Ref{Kind: model.KindPod, Namespace: "many", Name: string(rune('a'+i/26)) + string(rune('a'+i%26))},
				Node: "n1", Addrs: addrs(netip.AddrFrom4([4]byte{10, 1, 0, byte(10 + 5*i)}).String()),
			})
		}
		return objects
	},
	"host": func() []model.Object {
		return append(node(), hostEndpoint("*"), hostPolicy("ssh", func(*model.Policy) {}))
	},
	"host-forward": func() []model.Object {
		return append(node(), hostEndpoint("eth0"), hostPolicy("through", func(p *model.Policy) { p.ApplyOnForward = true }))
	},
	"host-early": func() []model.Object {
		return append(node(), hostEndpoint("*"),
			hostPolicy("untracked", func(p *model.Policy) { p.DoNotTrack, p.ApplyOnForward = true, true }),
			hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward = true, true }))
	},
	"links": func() []model.Object {
		return append(node(), links("veth1", ""), ingress("web", 1000, allow(0, sel("app == 'client'"), 80)), hostEndpoint("*"),
			hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward = true, true }))
	},
	"bridge": func() []model.Object {
		return append(node(), links("cni0", "veth1"), ingress("web", 1000, allow(0, sel("app == 'client'"), 80)))
	},
	"counting": func() []model.Object {
		s := model.DefaultSettings()
		s.Guards = model.Guards{Source: model.GuardCount, Link: model.GuardCount, Encapsulation: model.GuardCount, Wildcard: model.GuardCount, NoTunnelFailsafe: true}
		return append(node(), links("cni0", "veth1"), hostEndpoint("*"), s,
			hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward = true, true }),
			hostPolicy("through", func(p *model.Policy) { p.ApplyOnForward = true }))
	},
	"names": func() []model.Object { return append(node(), links("veth1", ""), hostEndpoint("*")) },
	"settings": func() []model.Object {
		s := model.DefaultSettings()
		s.EndpointToHost, s.UnknownWorkloads = model.ToHostReturn, model.Allow
		s.FailsafeInbound = []model.FailsafePort{{Protocol: model.TCP, Port: 22, Net: netip.MustParsePrefix("192.0.2.0/24")}}
		return append(node(), hostEndpoint("*"), s)
	},
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func node() []model.Object {
	return []model.Object{
		&model.Node{Name: "n1", Addrs: addrs("192.0.2.1", "2001:db8::1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00:1::/64")}},
		&model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "web"}, Node: "n1", Labels: map[string]string{"app": "web"},
			Addrs: addrs("10.1.0.2", "fd00:1::2"), Ports: []model.NamedPort{{Name: "http", Protocol: model.TCP, Port: 8080}},
		},
		&model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "client"}, Node: "n2", Labels: map[string]string{"app": "client"},
			Addrs: addrs("10.1.1.3", "fd00:2::3"),
		},
	}
}

// links has the pod web behind an interface, and a VXLAN device.
func links(iface, port string) model.Object {
	l := &model.Links{
		Node:    "n1",
		Addrs:   []model.LinkAddr{{Addr: netip.MustParseAddr("10.1.0.1"), Interface: "cni0"}, {Addr: netip.MustParseAddr("192.0.2.1"), Interface: "eth0"}},
		Routes:  []model.LinkRoute{{Net: netip.MustParsePrefix("10.1.1.0/24"), Interface: "flannel.1"}, {Net: netip.MustParsePrefix("0.0.0.0/0"), Interface: "eth0"}},
		Tunnels: []model.Tunnel{{Interface: "flannel.1", Protocol: model.UDP, Port: 8472}, {Interface: "tunl0", Protocol: 4}},
	}
	for _, a := range addrs("10.1.0.2", "fd00:1::2") {
		l.Pods = append(l.Pods, model.PodLink{Addr: a, Interface: iface, Port: port})
	}
	return l
}

func sel(s string) model.Peer {
	p, err := selector.Parse(s)
	if err != nil {
		panic(err)
	}
	return model.Peer{Selector: p}
}

func allow(i int, from model.Peer, port int) model.Rule {
	return model.Rule{Index: i, Action: model.Allow, Match: model.Match{
		Protocol: model.TCP, Source: from,
		Destination: model.Peer{Ports: []model.Port{{First: uint16(port), Last: uint16(port)}}},
	}}
}

func ingress(name string, order float64, rules ...model.Rule) *model.Policy {
	return &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name}, Tier: "default", Order: order,
		Selector: sel("app == 'web'").Selector, Ingress: true, IngressRules: rules,
	}
}

func hostEndpoint(iface string) model.Object {
	return &model.Endpoint{
		Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "n1-host"}, Node: "n1", Labels: map[string]string{"host": "yes"},
		Host: &model.HostEndpoint{Interface: iface, DefaultAction: model.Deny},
	}
}

func hostPolicy(name string, change func(*model.Policy)) *model.Policy {
	p := ingress(name, 1, allow(0, model.Peer{Nets: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, 22))
	p.Selector = sel("host == 'yes'").Selector
	change(p)
	return p
}

// stateOf is what node n1 makes of objects.
func stateOf(objects []model.Object) *dataplane.State {
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n1" }})
	for _, o := range objects {
		ix.Upsert(o)
	}
	c := dataplane.NewCompiler(dataplane.Options{})
	c.Apply(ix.Flush())
	return dataplane.NewState(ix, "n1", c)
}

// answers have those of two servers wait, for the node's pod and the node itself.
func answers() *dataplane.Answers {
	return &dataplane.Answers{Servers: addrs("10.96.0.10", "fd00:96::10"), Pods: addrs("10.1.0.2", "fd00:1::2"), Host: true}
}

// TestGoldens holds what Render prints to files that people can read, and has
// the commands accept them.
func TestGoldens(t *testing.T) {
	for _, name := range sortedKeys(goldens) {
		s := stateOf(goldens[name]())
		if name == "names" {
			s.Answers = answers()
		}
		s.SampleDenied = name == "denied"
		got := Render(s, Options{})
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		sets, rest, _ := strings.Cut(got, "\n# iptables-restore --noflush\n")
		v4, v6, ok := strings.Cut(rest, "\n# ip6tables-restore --noflush\n")
		if !ok {
			t.Fatalf("%s: what is for which command?\n%s", name, got)
		}
		for _, v := range variants() {
			inKernel(t, func(l *lab.Lab) {
				c, _ := installed(v)
				for _, run := range []struct {
					input string
					args  []string
				}{
					{sets, []string{"ipset", "restore"}},
					{v4, []string{c.name(dataplane.IPv4, "-restore"), "--noflush", "--test"}},
					{v6, []string{c.name(dataplane.IPv6, "-restore"), "--noflush", "--test"}},
				} {
					cmd := l.Command("n1", run.args[0], run.args[1:]...)
					cmd.Stdin = strings.NewReader(run.input)
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%s: %v: %v\n%s", name, run.args, err, out)
					}
				}
			})
		}
	}
}

// TestLinks holds what the kernel lists of interfaces and ports to what was written.
func TestLinks(t *testing.T) {
	manyPorts := func() []model.Object { // found by blocks of addresses
		l := links("cni0", "veth1").(*model.Links)
		for i := range 100 {
			for _, a := range []string{fmt.Sprintf("10.1.0.%d", 10+i), fmt.Sprintf("fd00:1::%x", 16+i)} {
				l.Pods = append(l.Pods, model.PodLink{Addr: netip.MustParseAddr(a), Interface: "cni0", Port: fmt.Sprint("veth", 10+i)})
			}
		}
		return append(node(), l)
	}
	for _, v := range variants() {
		for _, name := range []string{"links", "bridge", "counting", "many ports"} {
			inKernel(t, func(*lab.Lab) {
				b, err := New(Options{Variant: v})
				if err != nil {
					t.Fatal(err)
				}
				objects := manyPorts
				if goldens[name] != nil {
					objects = goldens[name]
				}
				s := stateOf(objects())
				for range 2 {
					if err := b.Sync(t.Context(), s); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
				}
				if n := b.Stats().Restores; n != 2 {
					t.Errorf("%s: %d runs of iptables-restore, want one a family", name, n)
				}
			})
		}
	}
}
