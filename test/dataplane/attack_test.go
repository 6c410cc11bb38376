package dataplane

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// The pods that attack and are attacked, on n1 and on n2. Of each pod the name is
// that of its address: by where() for the lab.
const (
	muted, muted6   = "10.1.1.20", "fd00:1:1::20" // may send nothing
	sealed, sealed6 = "10.1.1.21", "fd00:1:1::21" // takes nothing
	free, free6     = "10.1.1.22", "fd00:1:1::22" // no policy selects it
	loose, loose6   = "10.1.1.23", "fd00:1:1::23" // another one
	friend, friend6 = "10.1.1.24", "fd00:1:1::24"
	inner, inner6   = "10.1.1.25", "fd00:1:1::25" // lets friends in
	guarded         = "10.1.2.20"                 // lets friends in, on n2
	guarded6        = "fd00:1:2::20"
	far, far6       = "10.1.2.22", "fd00:1:2::22" // no policy selects it, on n2
	ally, ally6     = "10.1.2.24", "fd00:1:2::24" // a friend on n2

	node1, node1v6 = "192.0.2.1", "2001:db8::1"
	node2, node2v6 = "192.0.2.2", "2001:db8::2"
	stranger       = "198.18.0.9" // nobody's address
	// beyond is a host behind n1's eth1, if there is one.
	beyond, beyond6 = "198.51.100.20", "2001:db8:20::1"
	// virtual is an address of n1 that no object lists, if it is added.
	virtual, virtual6 = "198.51.100.50", "2001:db8:50::1"
)

// friendsOnly lets guarded pods be reached by friends.
var friendsOnly = allow("guarded", "guarded", "Ingress", "ingress TCP 80 friend", "ingress UDP 53 friend")

// field is the two nodes with the pods above and their policies.
func field() string {
	return node(1) + node(2) + namespace + tier +
		pod("muted", "muted", 1, muted, muted6) + pod("sealed", "sealed", 1, sealed, sealed6) +
		pod("free", "free", 1, free, free6) + pod("loose", "free", 1, loose, loose6) +
		pod("friend", "friend", 1, friend, friend6) + pod("inner", "guarded", 1, inner, inner6) +
		pod("guarded", "guarded", 2, guarded, guarded6) + pod("far", "free", 2, far, far6) + pod("ally", "friend", 2, ally, ally6) +
		allow("muted", "muted", "Egress") + allow("sealed", "sealed", "Ingress") + friendsOnly
}

// toHost is the setting of what becomes of packets of pods to their own node.
func toHost(action string) string {
	return fmt.Sprintf("---\napiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\nspec: {endpointToHostAction: %s}\n", action)
}

// hostEndpoint is a manifest of a host endpoint with the label role: host. More
// is further lines of its spec.
func hostEndpoint(name string, number int, iface string, more ...string) string {
	return fmt.Sprintf("---\napiVersion: tierwall.io/v1alpha1\nkind: HostEndpoint\nmetadata: {name: %s, labels: {role: host, name: %s}}\nspec:\n  node: n%d\n  interfaceName: %q\n  %s\n",
		name, name, number, iface, strings.Join(more, "\n  "))
}

// hostPolicy is a manifest of a policy of host endpoints. Lines are of its spec.
func hostPolicy(name, selector string, lines ...string) string {
	return fmt.Sprintf("---\napiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {name: %s}\nspec:\n  tier: platform\n  order: 20\n  selector: %s\n  %s\n",
		name, selector, strings.Join(lines, "\n  "))
}

// ground is what the network below the agents is like.
type ground struct {
	network lab.Network
	// spec changes what the lab is made of, if it is not nil.
	spec func(*lab.Spec)
}

// networks of pods that a spec is to hold on.
var networks = []struct {
	name    string
	network lab.Network
}{{"routed", lab.Routed}, {"bridged", lab.Bridge}}

// onBoth describes what holds on both kinds of networks of pods.
func onBoth(text string, labels Labels, body func(g ground)) {
	for _, n := range networks {
		It(text+", "+n.name, labels, func() { body(ground{network: n.network}) })
	}
}

// raise builds the lab of manifests. No agent runs yet: see cluster.run. Host
// endpoints do not make interfaces of nodes.
func (g ground) raise(p *plane, manifests string) *cluster {
	GinkgoHelper()
	c := &cluster{plane: p, objects: map[model.Ref]runtime.Object{}}
	list := objects(manifests)
	c.note(list)
	spec, _, err := lab.FromObjects(slices.DeleteFunc(slices.Clone(list), func(o runtime.Object) bool {
		_, ok := o.(*v1alpha1.HostEndpoint)
		return ok
	}))
	Expect(err).NotTo(HaveOccurred())
	spec.Network = g.network
	spec.Outside = append(spec.Outside, lab.Host{Name: "outside", Addrs: []netip.Addr{addr(outside), addr(outside6)}})
	if g.spec != nil {
		g.spec(&spec)
	}
	c.lab, err = lab.New(context.Background(), spec)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(c.lab.Close()).To(Succeed()) })
	DeferCleanup(func() { c.halt() })
	return c
}

// withBeyond puts a host behind n1's eth1.
func withBeyond(s *lab.Spec) {
	s.Outside = append(s.Outside, lab.Host{Name: "beyond", Addrs: []netip.Addr{addr(beyond), addr(beyond6)}, Behind: "n1", Link: "eth1"})
}

// try is a packet that is sent.
type try struct {
	text string
	flow model.Flow
	o    lab.Options
}

func (t try) String() string {
	text := fmt.Sprintf("%s > %s %s", t.flow.Src, t.flow.Dst, t.flow.Protocol)
	if t.flow.DstPort != 0 {
		text += fmt.Sprintf(" %d", t.flow.DstPort)
	}
	return strings.TrimSpace(t.text + " " + text)
}

// sort sends packets and returns those that arrive and those that do not.
func (c *cluster) sort(tries []try) (arrive, stay []string) {
	GinkgoHelper()
	for _, t := range tries {
		r, err := c.lab.Probe(context.Background(), t.flow, t.o)
		Expect(err).NotTo(HaveOccurred(), t.String())
		if r.Delivered {
			arrive = append(arrive, t.String())
		} else {
			stay = append(stay, t.String())
		}
	}
	return arrive, stay
}

// passes holds all packets to arrive.
func (c *cluster) passes(tries ...try) {
	GinkgoHelper()
	_, stay := c.sort(tries)
	Expect(stay).To(BeEmpty(), "these do not arrive")
}

// stops holds all packets not to arrive.
func (c *cluster) stops(tries ...try) {
	GinkgoHelper()
	arrive, _ := c.sort(tries)
	total.probes += uint64(len(tries))
	total.through += uint64(len(arrive))
	Expect(arrive).To(BeEmpty(), "these arrive")
}

// closes runs the agents, which have all of these packets stopped: without
// agents each of them arrives.
func (c *cluster) closes(tries ...try) {
	GinkgoHelper()
	c.passes(tries...)
	c.run()
	c.stops(tries...)
}

// where is a pod's name in the lab.
func where(name string) string { return "app/" + name }

// linkLocal is a pod's or node's link-local IPv6 address on an interface.
func (c *cluster) linkLocal(where, iface string) string {
	GinkgoHelper()
	a, err := c.lab.LinkLocal(where, iface)
	Expect(err).NotTo(HaveOccurred())
	return a.String()
}

// towards is the node's interface that leads to a pod: a bridge or its own.
func (c *cluster) towards(g ground, pod string) string {
	GinkgoHelper()
	if g.network == lab.Bridge {
		return "cni0"
	}
	name, err := c.lab.PodInterface(where(pod))
	Expect(err).NotTo(HaveOccurred())
	return name
}

// onLink are packets of a pod to what is on its link, at a receiver there.
func onLink(from, to string, flows ...model.Flow) []try {
	var out []try
	for _, f := range flows {
		t := try{text: from + " to " + to, flow: f, o: lab.Options{From: where(from), Interface: "eth0", To: []string{to}}}
		if f.Src.Is4() && f.Src.IsUnspecified() {
			t.o.Frame = lab.Broadcast
		}
		out = append(out, t)
	}
	return out
}

// forged are packets of a pod or host with a source of somebody else.
func forged(from string, flows ...model.Flow) []try {
	var out []try
	for _, f := range flows {
		out = append(out, try{text: from + " as", flow: f, o: lab.Options{From: from}})
	}
	return out
}

// honest are packets of whom they say.
func honest(flows ...model.Flow) []try {
	var out []try
	for _, f := range flows {
		out = append(out, try{flow: f})
	}
	return out
}

func ping(src, dst string) model.Flow {
	f := model.Flow{Src: addr(src), Dst: addr(dst), Protocol: model.ICMPv4, ICMPType: 8}
	if f.Src.Is6() {
		f.Protocol, f.ICMPType = model.ICMPv6, 128
	}
	return f
}

// discovery is a message of neighbour discovery or of multicast listeners.
func discovery(typ uint8, src, dst string) model.Flow {
	return model.Flow{Src: addr(src), Dst: addr(dst), Protocol: model.ICMPv6, ICMPType: typ}
}

// add gives n1 an address that no object lists.
func (c *cluster) add(iface, prefix string) {
	GinkgoHelper()
	Expect(c.lab.AddNodeAddr("n1", iface, netip.MustParsePrefix(prefix))).To(Succeed())
}

// join has a place take packets to multicast groups.
func (c *cluster) join(where, iface string, groups ...string) {
	GinkgoHelper()
	for _, g := range groups {
		Expect(c.lab.Join(where, iface, addr(g))).To(Succeed())
	}
}

// load puts a table of somebody else's into a node's kernel.
func (c *cluster) load(node, text string) {
	GinkgoHelper()
	cmd := c.lab.Command(node, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, addr(a))
	}
	return out
}

// addrPorts is one backend of a service.
func addrPorts(a string, port uint16) []netip.AddrPort { return []netip.AddrPort{join(a, port)} }
