package base

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestUplinkGuard looks for the host endpoint of the interface with the default route
// among routes of both families.
func TestUplinkGuard(t *testing.T) {
	host := func(iface string) dataplane.Endpoint {
		return dataplane.Endpoint{LocalEndpoint: &index.LocalEndpoint{
			Ref:  model.Ref{Kind: model.KindHostEndpoint, Name: iface},
			Host: &model.HostEndpoint{Interface: iface},
		}}
	}
	route := func(net, iface string) model.LinkRoute {
		return model.LinkRoute{Net: netip.MustParsePrefix(net), Interface: iface}
	}
	hosts := dataplane.Hosts{host("eth0"), host("eth1"), host("eth6")}
	for _, c := range []struct {
		name      string
		links     *model.Links
		four, six string
	}{
		{"no links", nil, "", ""},
		{"no routes", &model.Links{}, "", ""},
		{"others first", &model.Links{Routes: []model.LinkRoute{route("10.0.0.0/8", "eth1"), route("2001:db8::/32", "eth1"), route("::/0", "eth6"), route("0.0.0.0/0", "eth0")}}, "eth0", "eth6"},
		{"none of the family", &model.Links{Routes: []model.LinkRoute{route("0.0.0.0/0", "eth0"), route("2001:db8::/32", "eth1")}}, "eth0", ""},
		{"of an interface without a host endpoint", &model.Links{Routes: []model.LinkRoute{route("0.0.0.0/0", "eth9"), route("::/0", "eth1")}}, "", "eth1"},
	} {
		for family, want := range map[dataplane.Family]string{dataplane.IPv4: c.four, dataplane.IPv6: c.six} {
			b := &facts{state: &dataplane.State{Links: c.links}, hosts: hosts, family: family}
			got := ""
			if e := b.uplinkGuard(); e != nil {
				got = e.Ref.Name
			}
			if got != want {
				t.Errorf("%s, %v: %q, want %q", c.name, family, got, want)
			}
		}
	}
}
