package model

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
)

func TestDescribeMatch(t *testing.T) {
	code := uint8(4)
	pods := selector.Equal(LabelKind, OwnerPod)
	for _, c := range []struct {
		match Match
		want  string
	}{
		{Match{}, "anything"},
		{Match{Never: true}, "nothing (the rule is invalid)"},
		{Match{IPVersion: 6, Protocol: ICMPv6, ICMP: &ICMP{Type: 1, Code: &code}}, "IPv6 ICMPv6 type 1 code 4"},
		{Match{NotProtocol: UDP, NotICMP: &ICMP{Type: 8}}, "not UDP not type 8"},
		{
			Match{Protocol: TCP, Source: Peer{Selector: selector.And(pods, selector.Equal("app", "web"), selector.Equal(LabelNamespace, "shop"))},
				Destination: Peer{Ports: []Port{{First: 80, Last: 80}, {First: 8000, Last: 8999}, {Name: "http"}}}},
			"TCP from pods app == 'web' in namespace shop to ports 80, 8000-8999, http",
		},
		{
			Match{Source: Peer{Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, NotNets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}},
			"from 10.0.0.0/8 except 10.1.0.0/16",
		},
		{
			Match{Source: Peer{Selector: selector.And(pods, selector.Has(LabelNamespace), selector.Equal("ns:env", "prod"), selector.Equal("sa:team", "a"))}},
			"from pods of service accounts team == 'a' in namespaces env == 'prod'",
		},
		{
			Match{Destination: Peer{NotSelector: selector.And(selector.NotEqual(LabelKind, OwnerNode), selector.Global(), selector.Equal("zone", "dmz"))}},
			"to not zone == 'dmz' in no namespace",
		},
		{Match{Destination: Peer{Service: ServiceRef{Namespace: "shop", Name: "db"}, NotPorts: []Port{{First: 1, Last: 1}}}}, "to service shop/db on not port 1"},
		{Match{Source: Peer{Selector: selector.NotEqual(LabelKind, OwnerNode)}}, "from all()"},
	} {
		if got := c.match.Describe(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
