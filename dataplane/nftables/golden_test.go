package nftables

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
var goldens = map[string]func() ([]model.Object, *model.Settings){
	"empty":    func() ([]model.Object, *model.Settings) { return nil, nil },
	"one-node": func() ([]model.Object, *model.Settings) { return node(), nil },
	"native": func() ([]model.Object, *model.Settings) {
		return append(node(), ingress("web", 1000, allow(0, sel("app == 'client'"), 80), allow(1, sel("app == 'client'"), 443))), nil
	},
	"tiers": func() ([]model.Object, *model.Settings) {
		pass := model.Rule{Action: model.Pass, Match: model.Match{Source: sel("app == 'client'")}}
		log := model.Rule{Index: 1, Action: model.Log}
		p := ingress("first", 1, pass, log)
		p.Tier = "security"
		return append(node(), &model.Tier{Name: "security", Order: 10, DefaultAction: model.Deny}, p, ingress("web", 1000, allow(0, sel("app == 'client'"), 80))), nil
	},
	"denied": func() ([]model.Object, *model.Settings) { // a sample of what is denied
		return append(node(), ingress("web", 1000, allow(0, sel("app == 'client'"), 80), model.Rule{Index: 1, Action: model.Deny})), nil
	},
	"table": func() ([]model.Object, *model.Settings) {
		p := ingress("many", 1)
		for i := range 12 {
			a := model.Peer{Nets: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("203.0.%d.0/24", 100+i))}}
			p.IngressRules = append(p.IngressRules, allow(i, a, 8000+i))
		}
		return append(node(), p), nil
	},
	"classes": func() ([]model.Object, *model.Settings) {
		p := ingress("many", 1)
		for i := range 20 {
			p.IngressRules = append(p.IngressRules, allow(i, sel(fmt.Sprintf("n%d == 'yes'", i%3)), 8000+i))
		}
		objects := append(node(), p)
		for i := range 6 {
			objects = append(objects, &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: fmt.Sprint("peer-", i)}, Node: "n2",
				Labels: map[string]string{fmt.Sprintf("n%d", i%3): "yes"}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 1, byte(10 + i)})}})
		}
		return objects, nil
	},
	"ports": func() ([]model.Object, *model.Settings) {
		r := allow(0, model.Peer{}, 80)
		r.Match.Destination.Ports = []model.Port{{First: 80, Last: 80}, {First: 8000, Last: 8100}, {Name: "http"}}
		r.Match.Source.NotNets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.1/32")}
		return append(node(), ingress("ports", 1, r)), nil
	},
	"host": func() ([]model.Object, *model.Settings) {
		return append(node(), hostEndpoint("*"), hostPolicy("ssh", func(*model.Policy) {})), nil
	},
	"host-forward": func() ([]model.Object, *model.Settings) {
		return append(node(), hostEndpoint("eth0"), hostPolicy("through", func(p *model.Policy) { p.ApplyOnForward = true })), nil
	},
	"host-early": func() ([]model.Object, *model.Settings) {
		return append(node(), hostEndpoint("*"),
			hostPolicy("untracked", func(p *model.Policy) { p.DoNotTrack, p.ApplyOnForward = true, true }),
			hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward = true, true })), nil
	},
	"links": func() ([]model.Object, *model.Settings) {
		return append(node(), links("veth1", ""), ingress("web", 1000, allow(0, sel("app == 'client'"), 80)), hostEndpoint("*"),
			hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward = true, true })), nil
	},
	"bridge": func() ([]model.Object, *model.Settings) {
		s := model.DefaultSettings()
		s.UnknownWorkloads = model.Allow
		return append(node(), links("cni0", "veth1"), ingress("web", 1000, allow(0, sel("app == 'client'"), 80))), s
	},
	"counting": func() ([]model.Object, *model.Settings) {
		s := model.DefaultSettings()
		s.Guards = model.Guards{Source: model.GuardCount, Link: model.GuardCount, Encapsulation: model.GuardCount, Wildcard: model.GuardCount, NoTunnelFailsafe: true}
		return append(node(), links("cni0", "veth1"), hostEndpoint("*"),
			hostPolicy("before", func(p *model.Policy) { p.PreDNAT, p.ApplyOnForward = true, true }),
			hostPolicy("through", func(p *model.Policy) { p.ApplyOnForward = true })), s
	},
	"names": func() ([]model.Object, *model.Settings) { return append(node(), hostEndpoint("*")), nil },
	"settings": func() ([]model.Object, *model.Settings) {
		s := model.DefaultSettings()
		s.EndpointToHost, s.UnknownWorkloads = model.ToHostReturn, model.Allow
		s.FailsafeInbound = []model.FailsafePort{{Protocol: model.TCP, Port: 22, Net: netip.MustParsePrefix("192.0.2.0/24")}}
		return append(node(), hostEndpoint("*")), s
	},
}

func node() []model.Object {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	return []model.Object{
		&model.Node{Name: "n1", Addrs: addrs("192.0.2.1", "2001:db8::1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00:1::/64")}},
		&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "web"}, Node: "n1", Labels: map[string]string{"app": "web"},
			Addrs: addrs("10.1.0.2", "fd00:1::2"), Ports: []model.NamedPort{{Name: "http", Protocol: model.TCP, Port: 8080}}},
		&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "client"}, Node: "n2", Labels: map[string]string{"app": "client"},
			Addrs: addrs("10.1.1.3", "fd00:2::3")},
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
	for _, a := range []string{"10.1.0.2", "fd00:1::2"} {
		l.Pods = append(l.Pods, model.PodLink{Addr: netip.MustParseAddr(a), Interface: iface, Port: port})
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
	return &model.Endpoint{Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "n1-host"}, Node: "n1", Labels: map[string]string{"host": "yes"},
		Host: &model.HostEndpoint{Interface: iface, DefaultAction: model.Deny}}
}

func hostPolicy(name string, change func(*model.Policy)) *model.Policy {
	p := ingress(name, 1, allow(0, model.Peer{Nets: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, 22))
	p.Selector = sel("host == 'yes'").Selector
	change(p)
	return p
}

// TestGoldens holds what Render prints to files that people can read, and has nft accept them.
func TestGoldens(t *testing.T) {
	inKernel(t, func(l *lab.Lab) {
		for _, name := range slices.Sorted(maps.Keys(goldens)) {
			objects, settings := goldens[name]()
			ix := index.New(index.Options{Local: func(n string) bool { return n == "n1" }})
			if settings != nil {
				ix.Upsert(settings)
			}
			for _, o := range objects {
				ix.Upsert(o)
			}
			c := dataplane.NewCompiler(dataplane.Options{Classed: map[string]int{"classes": 6}[name]})
			c.Apply(ix.Flush())
			s := dataplane.NewState(ix, "n1", c)
			if name == "names" {
				s.Answers = answers()
			}
			s.SampleDenied = name == "denied"
			got := Render(s, Options{})
			path := filepath.Join("testdata", name+".nft")
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
			nft := func(args ...string) {
				cmd := l.Command("n1", "nft", append(args, "-f", "-")...)
				cmd.Stdin = strings.NewReader(withoutQueue(t, got))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", name, err, out)
				}
			}
			nft("-c")
			// What nft makes of the text is what Sync makes, to the last word.
			b, err := New(Options{})
			if err != nil {
				t.Fatal(err)
			}
			nft()
			byNft := listing(t, l)
			if err := b.Cleanup(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := b.Sync(context.Background(), s); err != nil {
				t.Fatal(err)
			}
			sameLines(t, name, listing(t, l), byNft)
			if err := b.Cleanup(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// answers have those of two servers wait, for the node's pod and the node itself.
func answers() *dataplane.Answers {
	of := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	return &dataplane.Answers{Servers: of("10.96.0.10", "fd00:96::10"), Pods: of("10.1.0.2", "fd00:1::2"), Host: true}
}

// withoutQueue is a text for kernels that have no queue for nftables: nft reads the rule
// by itself, and the kernel is given another.
func withoutQueue(t *testing.T, text string) string {
	t.Helper()
	b, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if err := b.CanHold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.opts.queue == queueNative {
		return text
	}
	return strings.ReplaceAll(text, queueNative.text(), "accept")
}

// listing is the table as nft lists it, line by line, less the tags of rules,
// which only Sync writes.
func listing(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	out, err := l.Command("n1", "nft", "list", "ruleset").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := tag.ReplaceAllString(string(out), "")
	// The target of iptables, as nft shows it.
	text = strings.ReplaceAll(text, fmt.Sprintf("queue num %d bypass", dataplane.AnswerQueue), "accept")
	return strings.Split(text, "\n")
}

var tag = regexp.MustCompile(` comment "#[a-z2-7]{6}"| #[a-z2-7]{6}`)

// sameLines holds two lists to be the same, in any order: nft lists sets and
// chains in the order of their making, and elements as they come.
func sameLines(t *testing.T, name string, got, want []string) {
	t.Helper()
	count := map[string]int{}
	for _, l := range want {
		count[l]++
	}
	for _, l := range got {
		count[l]--
	}
	for _, l := range slices.Sorted(maps.Keys(count)) {
		switch n := count[l]; {
		case n > 0:
			t.Errorf("%s: missing: %s", name, l)
		case n < 0:
			t.Errorf("%s: too many: %s", name, l)
		}
	}
}
