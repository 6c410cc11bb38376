package index_test

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestScopeOfNamedPorts has a client and a server that share an address and a port's
// name: which port the name stands for depends on whose side of a rule it is on.
func TestScopeOfNamedPorts(t *testing.T) {
	shared := netip.MustParseAddr("10.0.0.1")
	ported := func(name string, port uint16) *model.Endpoint {
		return &model.Endpoint{
			Ref: ref(model.KindPod, "shop", name), Node: localNode, Labels: map[string]string{"app": name}, Addrs: []netip.Addr{shared},
			Ports: []model.NamedPort{{Name: "web", Protocol: model.TCP, Port: port}},
		}
	}
	named := model.Peer{Ports: []model.Port{{Name: "web"}}}
	source, destination := model.Match{Source: named}, model.Match{Destination: named}
	for _, tt := range []struct {
		name   string
		dir    model.Direction
		match  model.Match
		change func(*model.Policy)
		both   bool // the port of the other pod too
	}{
		{"destination of ingress", model.Ingress, destination, nil, false},
		{"source of ingress", model.Ingress, source, nil, true},
		{"source of egress", model.Egress, source, nil, false},
		{"destination of egress", model.Egress, destination, nil, true},
		{"untracked", model.Ingress, destination, func(p *model.Policy) { p.DoNotTrack = true }, true},
		{"before NAT", model.Ingress, destination, func(p *model.Policy) { p.PreDNAT = true }, true},
		{"forwarded", model.Ingress, destination, func(p *model.Policy) { p.ApplyOnForward = true }, true},
	} {
		ix := index.New(index.Options{})
		ix.Upsert(ported("server", 80))
		ix.Upsert(ported("client", 8080))
		rules := []model.Rule{{Action: model.Allow, Match: tt.match}}
		p := &model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: model.TierDefault, Selector: selector.Equal("app", "server")}
		if p.Ingress = tt.dir == model.Ingress; p.Ingress {
			p.IngressRules = rules
		} else {
			p.Egress, p.EgressRules = true, rules
		}
		host := &model.Endpoint{Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "h"}, Node: localNode, Labels: map[string]string{"app": "server"}, Host: &model.HostEndpoint{Interface: "*", DefaultAction: model.Allow}}
		if tt.change != nil {
			tt.change(p)
			ix.Upsert(host)
		}
		ix.Upsert(p)
		for _, d := range ix.Flush().Sets {
			if !d.Set.Contains(shared, model.TCP, 80) || d.Set.Contains(shared, model.TCP, 8080) != tt.both {
				t.Errorf("%s: %s has 80: %t, 8080: %t", tt.name, d.Set, d.Set.Contains(shared, model.TCP, 80), d.Set.Contains(shared, model.TCP, 8080))
			}
		}
	}
}
