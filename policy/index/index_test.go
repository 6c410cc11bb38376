package index_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// tell says a Delta in lines. Effective policies get letters in the order in
// which they appear.
type teller struct{ names map[*index.Effective]string }

func (t *teller) name(e *index.Effective) string {
	if t.names[e] == "" {
		t.names[e] = string(rune('A' + len(t.names)))
	}
	return t.names[e]
}

func (t *teller) tell(d *index.Delta) string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, s := range d.Sets {
		line := "set " + s.Set.String()
		switch {
		case s.New:
			line += " new"
		case s.Gone:
			line += " gone"
		}
		for _, m := range s.Added {
			line += " +" + member(m)
		}
		for _, m := range s.Removed {
			line += " -" + member(m)
		}
		add("%s", line)
	}
	for _, e := range d.Added {
		add("policy %s: %s", t.name(e), chains(e))
	}
	for _, e := range d.Removed {
		add("policy %s gone", t.name(e))
	}
	for _, e := range d.Endpoints {
		if e.Endpoint == nil {
			add("%s gone", e.Ref)
		} else {
			add("%s has %s at %v", e.Ref, t.name(e.Effective), e.Endpoint.Addrs)
		}
	}
	if d.Settings {
		add("settings")
	}
	if len(d.Nodes) > 0 {
		add("nodes %v", d.Nodes)
	}
	return strings.Join(out, "\n")
}

func member(m index.Member) string {
	s := m.Prefix.String()
	if m.Protocol != 0 {
		s += fmt.Sprintf(",%s,%d", m.Protocol, m.Port)
	}
	return s
}

func chains(e *index.Effective) string {
	var out []string
	for _, st := range e.Stages() {
		for _, t := range st.Chain {
			for _, p := range t.Policies {
				out = append(out, fmt.Sprintf("%s %s %s %s", st.Stage, st.Direction, t.Tier.Name, p.Ref.Name))
			}
		}
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, "; ")
}

func ref(kind model.Kind, namespace, name string) model.Ref {
	return model.Ref{Kind: kind, Namespace: namespace, Name: name}
}

func named(e *model.Endpoint, ports ...model.NamedPort) *model.Endpoint {
	e.Ports = ports
	return e
}

func hostEndpoint(name, node, iface string, addrs ...string) *model.Endpoint {
	e := &model.Endpoint{
		Ref: ref(model.KindHostEndpoint, "", name), Node: node, Labels: map[string]string{"host": "yes"},
		Host: &model.HostEndpoint{Interface: iface, DefaultAction: model.Deny},
	}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, netip.MustParseAddr(a))
	}
	return e
}

func set(name, label string, nets ...string) *model.NetworkSet {
	s := &model.NetworkSet{Ref: ref(model.KindGlobalNetworkSet, "", name), Labels: map[string]string{"set": label}}
	for _, n := range nets {
		s.Nets = append(s.Nets, netip.MustParsePrefix(n))
	}
	return s
}

func TestDeltas(t *testing.T) {
	web := map[string]string{"app": "web"}
	db := map[string]string{"app": "db"}
	appWeb, appDB := selector.Equal("app", "web"), selector.Equal("app", "db")
	a := netip.MustParseAddr
	webPod := pod("shop", "web", localNode, web, a("10.0.0.1"))
	dbPod := pod("shop", "db", remoteNode, db, a("10.0.0.2"))
	dbPolicy := globalPolicy("db", 1, appDB, allowFrom(0, appWeb))
	webPolicy := globalPolicy("web", 1, appWeb, allowFrom(0, appDB))
	const peers = ":kind != 'node' && app == 'db'"

	type step struct {
		do   []any // model.Object to upsert, model.Ref to delete
		want string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a policy without local endpoints makes no sets", []step{
			{[]any{webPod, dbPod, dbPolicy}, "policy A: nothing\nPod/shop/web has A at [10.0.0.1]"},
		}},
		{"a set comes with the policy and follows the pods", []step{
			{[]any{webPod, dbPod}, "policy A: nothing\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{webPolicy}, "set " + peers + " new +10.0.0.2/32\npolicy B: workload ingress default web\npolicy A gone\nPod/shop/web has B at [10.0.0.1]"},
			{[]any{pod("shop", "db2", remoteNode, db, a("10.0.0.3"))}, "set " + peers + " +10.0.0.3/32"},
			{[]any{pod("shop", "db", remoteNode, db, a("fd00::2"))}, "set " + peers + " +fd00::2/128 -10.0.0.2/32"},
			{[]any{pod("shop", "db", remoteNode, web, a("fd00::2"))}, "set " + peers + " -fd00::2/128"},
			{[]any{webPolicy.Ref}, "set " + peers + " gone\npolicy C: nothing\npolicy B gone\nPod/shop/web has C at [10.0.0.1]"},
		}},
		{"two that share an address are one member until both have left", []step{
			{[]any{webPod, webPolicy, dbPod}, "set " + peers + " new +10.0.0.2/32\npolicy A: workload ingress default web\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{pod("other", "db", remoteNode, db, a("10.0.0.2"))}, ""},
			{[]any{dbPod.Ref}, ""},
			{[]any{dbPod, ref(model.KindPod, "other", "db")}, ""},
			{[]any{dbPod.Ref}, "set " + peers + " -10.0.0.2/32"},
		}},
		{"what comes and goes between two flushes is not reported", []step{
			{[]any{webPod, webPolicy, dbPod}, "set " + peers + " new +10.0.0.2/32\npolicy A: workload ingress default web\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{dbPod.Ref, dbPod}, ""},
			{[]any{webPod.Ref, webPod}, ""},
			{[]any{webPolicy.Ref, webPolicy}, "policy B: workload ingress default web\npolicy A gone\nPod/shop/web has B at [10.0.0.1]"},
		}},
		{"a set that the old and the new version share stays", []step{
			{[]any{webPod, webPolicy, dbPod}, "set " + peers + " new +10.0.0.2/32\npolicy A: workload ingress default web\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{globalPolicy("web", 2, appWeb, allowFrom(0, appDB), allowFrom(1, appDB))}, "policy B: workload ingress default web\npolicy A gone\nPod/shop/web has B at [10.0.0.1]"},
		}},
		{"endpoints of equal policy share it", []step{
			{[]any{webPod, pod("else", "web", localNode, map[string]string{"app": "web", "x": "y"}, a("10.0.0.9")), webPolicy}, "set " + peers + " new\npolicy A: workload ingress default web\nPod/else/web has A at [10.0.0.9]\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{pod("shop", "web2", localNode, web, a("10.0.0.10"))}, "Pod/shop/web2 has A at [10.0.0.10]"},
		}},
		{"tiers reorder, and one that is missing comes last", []step{
			{[]any{webPod, dbPod, inTier("late", "two"), inTier("early", "one"), webPolicy}, "set " + peers + " new +10.0.0.2/32\npolicy A: workload ingress default web; workload ingress one early; workload ingress two late\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{&model.Tier{Name: "two", Order: 5, DefaultAction: model.Pass}}, "policy B: workload ingress two late; workload ingress default web; workload ingress one early\npolicy A gone\nPod/shop/web has B at [10.0.0.1]"},
			{[]any{&model.Tier{Name: "one", Order: 5, DefaultAction: model.Deny}}, "policy C: workload ingress one early; workload ingress two late; workload ingress default web\npolicy B gone\nPod/shop/web has C at [10.0.0.1]"},
			{[]any{&model.Tier{Name: "default", Order: 1, DefaultAction: model.Pass}}, ""},
			{[]any{ref(model.KindTier, "", "one"), ref(model.KindTier, "", "default")}, "policy D: workload ingress two late; workload ingress default web; workload ingress one early\npolicy C gone\nPod/shop/web has D at [10.0.0.1]"},
		}},
		{"network sets give blocks, which may overlap", []step{
			{[]any{webPod, globalPolicy("web", 1, appWeb, allowFrom(0, selector.Has("set"))), set("one", "x", "10.1.0.0/16", "10.1.2.3/32"), set("two", "x", "10.1.0.0/16")},
				"set :kind != 'node' && has(set) new +10.1.0.0/16 +10.1.2.3/32\npolicy A: workload ingress default web\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{set("one", "x", "10.2.0.0/16")}, "set :kind != 'node' && has(set) +10.2.0.0/16 -10.1.2.3/32"},
			{[]any{ref(model.KindGlobalNetworkSet, "", "two")}, "set :kind != 'node' && has(set) -10.1.0.0/16"},
		}},
		{"named ports are those of the pods that the rule is about", []step{
			{[]any{
				named(pod("shop", "web", localNode, web, a("10.0.0.1")), model.NamedPort{Name: "http", Protocol: model.TCP, Port: 8080}),
				named(pod("shop", "db", localNode, db, a("10.0.0.2")), model.NamedPort{Name: "http", Protocol: model.TCP, Port: 81}),
				globalPolicy("web", 1, appWeb, model.Rule{Action: model.Allow, Match: model.Match{Protocol: model.TCP, Destination: model.Peer{Ports: []model.Port{{Name: "http"}}}}}),
			}, "set port http of :kind in {'hostendpoint', 'pod'} && app == 'web' new +10.0.0.1/32,TCP,8080\npolicy A: workload ingress default web\npolicy B: nothing\nPod/shop/db has B at [10.0.0.2]\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{named(pod("shop", "web", localNode, web, a("10.0.0.1")), model.NamedPort{Name: "http", Protocol: model.TCP, Port: 8081})},
				"set port http of :kind in {'hostendpoint', 'pod'} && app == 'web' +10.0.0.1/32,TCP,8081 -10.0.0.1/32,TCP,8080"},
		}},
		{"services follow their slices", []step{
			{[]any{webPod, globalPolicy("web", 1, appWeb, model.Rule{Action: model.Allow, Match: model.Match{Source: model.Peer{Service: model.ServiceRef{Namespace: "shop", Name: "db"}}}})},
				"set service shop/db new\npolicy A: workload ingress default web\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{slice("db-1", "db", "10.0.0.7"), slice("db-2", "db", "10.0.0.7", "10.0.0.8")}, "set service shop/db +10.0.0.7/32 +10.0.0.8/32"},
			{[]any{slice("db-2", "other", "10.0.0.8")}, "set service shop/db -10.0.0.8/32"},
			{[]any{ref(model.KindEndpointSlice, "shop", "db-1")}, "set service shop/db -10.0.0.7/32"},
		}},
		{"labels of namespaces and service accounts move their pods", []step{
			{[]any{webPod, dbPod, globalPolicy("web", 1, appWeb, allowFrom(0, selector.Equal("ns:env", "prod")))},
				"set :kind != 'node' && ns:env == 'prod' new\npolicy A: workload ingress default web\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{&model.Namespace{Name: "shop", Labels: map[string]string{"env": "prod"}}}, "set :kind != 'node' && ns:env == 'prod' +10.0.0.1/32 +10.0.0.2/32"},
			{[]any{ref(model.KindNamespace, "", "shop")}, "set :kind != 'node' && ns:env == 'prod' -10.0.0.1/32 -10.0.0.2/32"},
		}},
		{"a host endpoint without addresses has its node's", []step{
			{[]any{hostEndpoint("h", localNode, "*"), webPod, globalPolicy("web", 1, appWeb, allowFrom(0, selector.Has("host")))},
				"set :kind != 'node' && has(host) new\npolicy A: nothing\npolicy B: workload ingress default web\nHostEndpoint/h has A at []\nPod/shop/web has B at [10.0.0.1]"},
			{[]any{&model.Node{Name: localNode, Addrs: []netip.Addr{a("192.0.2.1")}}}, "set :kind != 'node' && has(host) +192.0.2.1/32\nHostEndpoint/h has A at [192.0.2.1]\nnodes [local]"},
			{[]any{hostEndpoint("h", localNode, "eth0", "192.0.2.9")}, "set :kind != 'node' && has(host) +192.0.2.9/32 -192.0.2.1/32\nHostEndpoint/h has A at [192.0.2.9]"},
			{[]any{ref(model.KindNode, "", localNode), ref(model.KindHostEndpoint, "", "h")}, "set :kind != 'node' && has(host) -192.0.2.9/32\npolicy A gone\nHostEndpoint/h gone\nnodes [local]"},
		}},
		{"doNotTrack policies count for nothing on pods", []step{
			{[]any{webPod, dbPod, untracked(globalPolicy("raw", 1, selector.All()))}, "policy A: nothing\nPod/shop/web has A at [10.0.0.1]"},
			{[]any{hostEndpoint("h", localNode, "*", "192.0.2.1")}, "policy B: untracked ingress default raw\nHostEndpoint/h has B at [192.0.2.1]"},
		}},
		{"deleting what was never there, and settings", []step{
			{[]any{webPod.Ref, webPolicy.Ref, ref(model.KindNode, "", "x"), ref(model.KindTier, "", "x"), ref(model.KindNetworkSet, "a", "b"), ref("Unknown", "", "x")}, ""},
			{[]any{model.DefaultSettings()}, ""},
			{[]any{&model.Settings{UnknownWorkloads: model.Allow}}, "settings"},
			{[]any{ref(model.KindTierwall, "", "default")}, "settings"},
			{[]any{&model.Node{Name: "n", Addrs: []netip.Addr{a("192.0.2.1")}}}, "nodes [n]"},
			{[]any{&model.Node{Name: "n", Addrs: []netip.Addr{a("192.0.2.1")}}}, ""},
			{[]any{ref(model.KindNode, "", "n"), &model.Node{Name: "n", Addrs: []netip.Addr{a("192.0.2.1")}}}, ""},
			{[]any{ref(model.KindNode, "", "n")}, "nodes [n]"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ix := index.New(index.Options{Local: isLocal})
			tt := teller{map[*index.Effective]string{}}
			if c.name == "named ports are those of the pods that the rule is about" {
				ix = index.New(index.Options{})
			}
			for i, s := range c.steps {
				for _, o := range s.do {
					switch o := o.(type) {
					case model.Object:
						ix.Upsert(o)
					case model.Ref:
						ix.Delete(o)
					}
				}
				if got := tt.tell(ix.Flush()); got != s.want {
					t.Fatalf("step %d\ngot:\n%s\nwant:\n%s", i, got, s.want)
				}
			}
		})
	}
}

func inTier(name, tier string) *model.Policy {
	p := globalPolicy(name, 1, selector.Equal("app", "web"))
	p.Tier = tier
	return p
}

func untracked(p *model.Policy) *model.Policy {
	p.DoNotTrack, p.ApplyOnForward = true, true
	return p
}

func slice(name, service string, addrs ...string) *model.ServiceSlice {
	s := &model.ServiceSlice{Ref: ref(model.KindEndpointSlice, "shop", name), Service: service, Ports: []model.ServicePort{{Protocol: model.TCP, Port: 5432}}}
	for _, a := range addrs {
		s.Addrs = append(s.Addrs, netip.MustParseAddr(a))
	}
	return s
}
