package lint

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

func hostEndpoint(name, node, iface string, action model.Action, addrs ...string) *model.Endpoint {
	e := &model.Endpoint{
		Ref: model.Ref{Kind: model.KindHostEndpoint, Name: name}, Node: node, Labels: map[string]string{"host": name},
		Host: &model.HostEndpoint{Interface: iface, DefaultAction: action},
	}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, netip.MustParseAddr(a))
	}
	return e
}

func nodeWith(name, addr string) *model.Node {
	return &model.Node{Name: name, Addrs: []netip.Addr{netip.MustParseAddr(addr)}}
}

func linksOf(node string, tunnels []model.Tunnel, addrs ...model.LinkAddr) *model.Links {
	return &model.Links{Node: node, Addrs: addrs, Tunnels: tunnels}
}

func addrOn(addr, iface string) model.LinkAddr {
	return model.LinkAddr{Addr: netip.MustParseAddr(addr), Interface: iface}
}

func settingsWith(g model.Guards) *model.Settings {
	s := model.DefaultSettings()
	s.Guards = g
	return s
}

// found are the findings of some codes, as "severity code object field: message".
func found(objects []model.Object, codes ...string) string {
	ix := index.New(index.Options{})
	for _, o := range objects {
		ix.Upsert(o)
	}
	ix.Flush()
	var b strings.Builder
	for _, f := range Run(ix, nil, nil, nil) {
		if slices.Contains(codes, f.Code) {
			b.WriteString(string(f.Severity) + " " + f.Code + " " + f.Object.String() + " " + f.Field + ": " + f.Message + "\n")
		}
	}
	return b.String()
}

func TestInterfaces(t *testing.T) {
	const closed, open = model.Deny, model.Allow
	n1 := nodeWith("n1", "192.0.2.1")
	for _, tt := range []struct {
		name    string
		objects []model.Object
		want    string
	}{
		{"addresses of the node", []model.Object{n1, hostEndpoint("a", "n1", "eth0", open, "192.0.2.1")}, ""},
		{"no addresses", []model.Object{n1, hostEndpoint("a", "n1", "eth0", open)}, ""},
		{"addresses alone", []model.Object{n1, hostEndpoint("a", "n1", "", open, "192.0.2.9")}, ""},
		{"nothing is known", []model.Object{hostEndpoint("a", "n1", "eth0", open, "192.0.2.9")}, ""},
		{
			"another address, by the Node object",
			[]model.Object{n1, hostEndpoint("a", "n1", "eth0", open, "192.0.2.1", "192.0.2.9")},
			"info expected-ips-disagree HostEndpoint/a spec.expectedIPs: 192.0.2.9 not among the known addresses of Node/n1; they do not narrow down what is guarded: interfaceName decides, whatever addresses packets have\n",
		},
		{
			"an address that only the kernel knows",
			[]model.Object{n1, linksOf("n1", nil, addrOn("192.0.2.1", "eth0"), addrOn("192.0.2.9", "eth0")), hostEndpoint("a", "n1", "eth0", open, "192.0.2.9")},
			"",
		},
		{
			"an address of another interface",
			[]model.Object{n1, linksOf("n1", nil, addrOn("192.0.2.1", "eth0"), addrOn("192.0.2.9", "eth1")), hostEndpoint("a", "n1", "eth0", open, "192.0.2.9")},
			"info expected-ips-disagree HostEndpoint/a spec.expectedIPs: 192.0.2.9 not among the known addresses of interface \"eth0\" of Node/n1; they do not narrow down what is guarded: interfaceName decides, whatever addresses packets have\n",
		},
		{
			"all interfaces have any of them",
			[]model.Object{n1, linksOf("n1", nil, addrOn("192.0.2.9", "eth1")), hostEndpoint("a", "n1", "*", open, "192.0.2.9")},
			"",
		},
		{
			"one interface twice",
			[]model.Object{n1, hostEndpoint("b", "n1", "eth0", closed), hostEndpoint("a", "n1", "eth0", open), hostEndpoint("c", "n1", "eth1", open), hostEndpoint("d", "n2", "eth0", open)},
			"warning duplicate-interface HostEndpoint/b spec.interfaceName: HostEndpoint/a names interface \"eth0\" of Node/n1 too: only the first host endpoint by name guards it, so this one guards nothing\n",
		},
	} {
		if got := found(tt.objects, CodeDuplicateInterface, CodeExpectedIPsDisagree); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestHostsWithoutAddresses(t *testing.T) {
	const open = model.Allow
	finding := func(name, guarded string) string {
		return "info host-unknown-addresses HostEndpoint/" + name + " spec.expectedIPs: no address of Node/n1 is known: " + guarded +
			" guarded anyway, but rules that select this host endpoint match no address, and explain, test, diff and lint leave out what the node itself sends and receives\n"
	}
	for _, tt := range []struct {
		name    string
		objects []model.Object
		want    string
	}{
		{"addresses of its own", []model.Object{hostEndpoint("a", "n1", "eth0", open, "192.0.2.1")}, ""},
		{"addresses of the node", []model.Object{nodeWith("n1", "192.0.2.1"), hostEndpoint("a", "n1", "eth0", open)}, ""},
		{"addresses that the kernel reports", []model.Object{linksOf("n1", nil, addrOn("192.0.2.1", "eth1")), hostEndpoint("a", "n1", "eth0", open)}, ""},
		{"on no node", []model.Object{hostEndpoint("a", "", "eth0", open)}, ""},
		{"none", []model.Object{hostEndpoint("a", "n1", "eth0", open)}, finding("a", `interface "eth0" is`)},
		{"none, of all interfaces", []model.Object{nodeWith("n2", "192.0.2.2"), hostEndpoint("a", "n1", "*", open)}, finding("a", "all interfaces are")},
		{"a node without addresses", []model.Object{&model.Node{Name: "n1"}, hostEndpoint("a", "n1", "eth0", open)}, finding("a", `interface "eth0" is`)},
		{"twice", []model.Object{hostEndpoint("b", "n1", "eth0", open), hostEndpoint("a", "n1", "eth0", open)}, finding("a", `interface "eth0" is`)},
	} {
		if got := found(tt.objects, CodeHostUnknownAddresses); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestTunnels(t *testing.T) {
	n1, n2 := nodeWith("n1", "192.0.2.1"), nodeWith("n2", "192.0.2.2")
	vxlan := []model.Tunnel{{Interface: "flannel.1", Protocol: model.UDP, Port: 8472}}
	ipip := []model.Tunnel{{Interface: "tunl0", Protocol: 4}}
	notSafe := settingsWith(model.Guards{NoTunnelFailsafe: true})
	for _, tt := range []struct {
		name    string
		objects []model.Object
		want    string
	}{
		{"failsafe", []model.Object{n1, n2, hostEndpoint("a", "n1", "*", model.Deny)}, ""},
		{"no other node", []model.Object{n1, notSafe, hostEndpoint("a", "n1", "*", model.Deny)}, ""},
		{"open", []model.Object{n1, n2, notSafe, hostEndpoint("a", "n1", "*", model.Allow)}, ""},
		{"no tunnels", []model.Object{n1, n2, notSafe, linksOf("n1", nil), linksOf("n2", vxlan), hostEndpoint("a", "n1", "*", model.Deny)}, ""},
		{
			"closed",
			[]model.Object{n1, n2, notSafe, linksOf("n1", vxlan), hostEndpoint("a", "n1", "*", model.Deny)},
			"warning tunnels-closed HostEndpoint/a : closes tunnels between Node/n1 and other nodes (flannel.1 UDP 8472), and spec.failsafe.tunnels is false: the node's part of the pod network stops\n",
		},
		{
			"closed, without ports",
			[]model.Object{n1, n2, notSafe, linksOf("n1", ipip), hostEndpoint("a", "n1", "*", model.Deny)},
			"warning tunnels-closed HostEndpoint/a : closes tunnels between Node/n1 and other nodes (tunl0 protocol 4), and spec.failsafe.tunnels is false: the node's part of the pod network stops\n",
		},
		{
			"closed, on a node that has not been seen",
			[]model.Object{n1, n2, notSafe, hostEndpoint("a", "n1", "*", model.Deny)},
			"info tunnels-closed HostEndpoint/a : closes VXLAN UDP 4789, VXLAN UDP 8472, Geneve UDP 6081, IP in IP protocol 4 between Node/n1 and other nodes, and spec.failsafe.tunnels is false: if the pod network uses one of these, the node's part of it stops\n",
		},
	} {
		if got := found(tt.objects, CodeTunnelsClosed); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestGuardsNotEnforced(t *testing.T) {
	for _, tt := range []struct {
		guards model.Guards
		want   []string
	}{
		{model.Guards{}, nil},
		{model.Guards{Source: model.GuardCount}, []string{"info guard-not-enforced Tierwall/default spec.sourceGuard: only counts"}},
		{model.Guards{Link: model.GuardOff, Encapsulation: model.GuardCount, Wildcard: model.GuardOff}, []string{
			"info guard-not-enforced Tierwall/default spec.encapsulationGuard: only counts",
			"warning guard-not-enforced Tierwall/default spec.linkGuard: is off",
			"warning guard-not-enforced Tierwall/default spec.wildcardGuard: is off",
		}},
	} {
		lines := strings.Split(strings.TrimSuffix(found([]model.Object{settingsWith(tt.guards)}, CodeGuardNotEnforced), "\n"), "\n")
		if tt.want == nil {
			tt.want = []string{""}
		}
		if !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
			t.Errorf("%+v: got %q, want %q", tt.guards, lines, tt.want)
		}
	}
}
