package lint

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// TestServicePorts has a rule for port 80 of pods, and a Service with port 80 in front
// of them or of others.
func TestServicePorts(t *testing.T) {
	for _, tt := range []struct {
		name      string
		endpoints []string
		ports     []model.NamedPort // of the pod
		want      bool
	}{
		{"endpoints with another port", []string{"10.0.0.1:8080"}, nil, true},
		{"endpoints with the same port", []string{"10.0.0.1:80"}, nil, false},
		{"one with the same port", []string{"10.0.0.1:80", "10.0.0.1:8080"}, nil, false},
		{"endpoints that the policy does not select", []string{"10.0.0.2:8080"}, nil, false},
		{"one that the policy does not select", []string{"10.0.0.1:8080", "10.0.0.2:8080"}, nil, false},
		{"an address of no pod", []string{"10.0.0.9:8080"}, nil, false},
		{"no endpoints", nil, nil, false},
		{"pods that have the port as well", []string{"10.0.0.1:8080"}, []model.NamedPort{{Name: "web", Protocol: model.TCP, Port: 80}}, false},
		{"pods that have it of another protocol", []string{"10.0.0.1:8080"}, []model.NamedPort{{Name: "web", Protocol: model.UDP, Port: 80}}, true},
		{"pods that have another port as well", []string{"10.0.0.1:8080"}, []model.NamedPort{{Name: "web", Protocol: model.TCP, Port: 8080}}, true},
	} {
		ix := index.New(index.Options{})
		web := podWith("web", "10.0.0.1")
		web.Ports = tt.ports
		ix.Upsert(web)
		ix.Upsert(podWith("other", "10.0.0.2"))
		rule := model.Rule{Action: model.Allow, Match: model.Match{Protocol: model.TCP, Destination: model.Peer{Ports: []model.Port{{First: 80, Last: 80}}}}}
		ix.Upsert(&model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: model.TierDefault, Selector: selector.Equal("app", "web"), Ingress: true, IngressRules: []model.Rule{rule}})
		ix.Flush()
		port := packets.ServicePort{Protocol: model.TCP, Port: 80}
		for _, e := range tt.endpoints {
			port.Endpoints = append(port.Endpoints, netip.MustParseAddrPort(e))
		}
		services := []packets.Service{{Ref: model.Ref{Kind: "Service", Namespace: "shop", Name: "web"}, Ports: []packets.ServicePort{port}}}
		got := slices.ContainsFunc(Run(ix, nil, nil, services), func(f Finding) bool { return f.Code == CodeServicePort })
		if got != tt.want {
			t.Errorf("%s: finding %t", tt.name, got)
		}
	}
}
