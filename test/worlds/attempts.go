package worlds

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// attempt is a packet that does not come and leave as its addresses say: with a source
// of somebody else, or one that no object lists, to a group or to a link-local address.
type attempt struct {
	flow    model.Flow
	options lab.Options
}

// attacker makes the attempts of a world.
type attacker struct {
	feed *Feed
	lab  *lab.Lab
	spec lab.Spec
	pods []lab.Pod // those that the objects and the lab agree on
	// linkLocal are IPv6 link-local addresses, of pods and by interface of nodes.
	linkLocal map[string]netip.Addr
}

// Addresses that nobody in a world has.
var (
	nobody      = [2]netip.Addr{netip.MustParseAddr("198.18.0.9"), netip.MustParseAddr("2001:db8:77::9")}
	beyond      = [2]netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")}
	linkLocal4  = netip.MustParseAddr("169.254.7.7")
	everyone    = [2]netip.Addr{netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("ff02::1")}
	broadcast   = netip.MustParseAddr("255.255.255.255")
	unspecified = [2]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
)

func newAttacker(f *Feed, l *lab.Lab, spec lab.Spec) (*attacker, error) {
	a := &attacker{feed: f, lab: l, spec: spec, linkLocal: map[string]netip.Addr{}}
	for _, p := range spec.Pods {
		ref := model.Ref{Kind: model.KindPod, Namespace: p.Namespace, Name: p.Name}
		e, known := f.Index.Endpoint(ref)
		if p.HostNetwork || !known || e.Node != p.Node || len(e.Addrs) != len(p.Addrs) {
			continue
		}
		if slices.ContainsFunc(p.Addrs, func(x netip.Addr) bool { return f.Index.Owner(x) != ref || f.Index.NodeOf(x) != nil }) {
			continue
		}
		a.pods = append(a.pods, p)
		// Or it would take its neighbours for routers.
		if err := l.Do(p.Where(), func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_ra", []byte("0"), 0) }); err != nil {
			return nil, err
		}
		ll, err := l.LinkLocal(p.Where(), "eth0")
		if err != nil {
			return nil, err
		}
		a.linkLocal[p.Where()] = ll
	}
	return a, nil
}

// tunnel gives a node a tunnel of which nothing comes out.
func tunnel(l *lab.Lab, node string) error {
	for _, args := range [][]string{{"link", "add", "vx", "type", "vxlan", "id", "7", "dstport", "4789"}, {"link", "set", "vx", "up"}} {
		if out, err := l.Command(node, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("node %s: %w: %s", node, err, out)
		}
	}
	return nil
}

// attempts returns some packets that arrive without any policy.
func (s *tally) attempts(ctx context.Context, l *lab.Lab, f *Feed, spec lab.Spec) ([]attempt, error) {
	a, err := newAttacker(f, l, spec)
	if err != nil || len(a.pods) == 0 {
		return nil, err
	}
	var out []attempt
	for range 70 {
		t, ok, err := a.attempt()
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		got, err := l.Probe(ctx, t.flow, t.options)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%+v, %+v: %w", t.flow, t.options, err)
		case got.Delivered:
			out = append(out, t)
		default:
			s.unreachable++
		}
	}
	return out, nil
}

func pick[T any](f *Feed, from ...T) T { return from[f.Rand.IntN(len(from))] }

func (a *attacker) attempt() (attempt, bool, error) {
	p, family := pick(a.feed, a.pods...), pick(a.feed, 0, 1)
	if !a.of(p.Addrs, family).IsValid() {
		return attempt{}, false, nil // its namespace has no routes of the family
	}
	switch a.feed.Rand.IntN(6) {
	case 0, 1:
		t, ok := a.forged(p, family)
		return t, ok, nil
	case 2:
		t, ok := a.fromOutside(family)
		return t, ok, nil
	case 3:
		t, ok, err := a.byNode(p, family)
		return t, ok, err
	}
	return a.onLink(p, family)
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// of is an address of a list, of a family.
func (a *attacker) of(list []netip.Addr, family int) netip.Addr {
	list = slices.DeleteFunc(slices.Clone(list), func(x netip.Addr) bool { return familyOf(x) != family })
	if len(list) == 0 {
		return netip.Addr{}
	}
	return pick(a.feed, list...)
}

// anyone is an address of somebody in the world: a pod, a node or a host outside.
func (a *attacker) anyone(family int) netip.Addr {
	switch a.feed.Rand.IntN(5) {
	case 0:
		return beyond[family]
	case 1:
		return a.of(pick(a.feed, a.spec.Nodes...).Addrs, family)
	}
	return a.of(pick(a.feed, a.pods...).Addrs, family)
}

// traffic gives a flow a protocol.
func (a *attacker) traffic(f *model.Flow) {
	f.Protocol = pick(a.feed, model.TCP, model.TCP, model.UDP, model.UDP, model.SCTP, model.ICMPv4)
	if f.Protocol == model.ICMPv4 {
		f.ICMPType = 8
		if f.Src.Is6() {
			f.Protocol, f.ICMPType = model.ICMPv6, 128
		}
		return
	}
	f.SrcPort, f.DstPort = 40000, pick(a.feed, uint16(80), 80, 53, 443, 8080)
	if f.Protocol == model.UDP && a.feed.Rand.IntN(3) == 0 {
		f.DstPort = 4789
	}
}

// forged is a packet of a pod with a source that is not its own.
func (a *attacker) forged(p lab.Pod, family int) (attempt, bool) {
	f := model.Flow{Dst: a.anyone(family), In: refOf(p)}
	switch a.feed.Rand.IntN(4) {
	case 0:
		f.Src = nobody[family]
	case 1:
		if f.Src = linkLocal4; family == 1 {
			f.Src = a.linkLocal[p.Where()]
		}
	default:
		f.Src = a.anyone(family)
	}
	a.traffic(&f)
	ok := a.sane(f) && !slices.Contains(p.Addrs, f.Dst) && !slices.Contains(p.Addrs, f.Src)
	return attempt{f, lab.Options{From: p.Where()}}, ok
}

// fromOutside is a packet of a host outside with a pod's source.
func (a *attacker) fromOutside(family int) (attempt, bool) {
	f := model.Flow{Src: a.of(pick(a.feed, a.pods...).Addrs, family)}
	var node, iface string
	if a.feed.Rand.IntN(2) == 0 {
		p := pick(a.feed, a.pods...)
		f.Dst, node = a.of(p.Addrs, family), p.Node
	} else {
		n := pick(a.feed, a.spec.Nodes...)
		f.Dst, node = a.of(n.Addrs, family), n.Name
	}
	for _, n := range a.spec.Nodes {
		if n.Name == node {
			if iface = n.Interface; iface == "" {
				iface = "eth0"
			}
		}
	}
	f.In = model.InterfaceRef(node, iface)
	a.traffic(&f)
	return attempt{f, lab.Options{From: lab.Internet}}, a.sane(f)
}

// sane reports whether the core and the lab agree on whose the addresses are.
func (a *attacker) sane(f model.Flow) bool {
	for _, x := range []netip.Addr{f.Src, f.Dst} {
		if !x.IsValid() || a.feed.own[x] {
			return false
		}
		if x == linkLocal4 || x.IsLinkLocalUnicast() {
			continue
		}
		if _, _, ok := placeOf(x, f, a.lab, a.feed.Index); !ok {
			return false
		}
	}
	return f.Src != f.Dst
}

func refOf(p lab.Pod) model.Ref {
	return model.Ref{Kind: model.KindPod, Namespace: p.Namespace, Name: p.Name}
}

// gateway is the interface of a node that leads to a pod, and its link-local address.
func (a *attacker) gateway(p lab.Pod) (iface string, ll netip.Addr, err error) {
	if iface = "cni0"; a.spec.Network != lab.Bridge {
		if iface, err = a.lab.PodInterface(p.Where()); err != nil {
			return "", netip.Addr{}, err
		}
	}
	key := p.Node + " " + iface
	if ll, ok := a.linkLocal[key]; ok {
		return iface, ll, nil
	}
	ll, err = a.lab.LinkLocal(p.Node, iface)
	a.linkLocal[key] = ll
	return iface, ll, err
}

// neighbour is another pod on the bridge of a pod.
func (a *attacker) neighbour(p lab.Pod) (lab.Pod, bool) {
	var all []lab.Pod
	for _, q := range a.pods {
		if a.spec.Network == lab.Bridge && q.Node == p.Node && q.Where() != p.Where() {
			all = append(all, q)
		}
	}
	if len(all) == 0 {
		return lab.Pod{}, false
	}
	return pick(a.feed, all...), true
}

// onLink is a packet of a pod to what is on its link.
func (a *attacker) onLink(p lab.Pod, family int) (attempt, bool, error) {
	_, gate, err := a.gateway(p)
	if err != nil {
		return attempt{}, false, err
	}
	f := model.Flow{In: refOf(p), Src: a.of(p.Addrs, family)}
	o := lab.Options{From: p.Where(), Interface: "eth0", To: []string{p.Node}}
	to, link := gate, linkLocal4
	if q, ok := a.neighbour(p); ok && a.feed.Rand.IntN(2) == 0 {
		f.Out, o.To, to = refOf(q), []string{q.Where()}, a.linkLocal[q.Where()]
	}
	if family == 1 {
		link = a.linkLocal[p.Where()]
	}
	f.Src = pick(a.feed, f.Src, link, link, nobody[family])
	f.Dst = everyone[family]
	switch {
	case family == 1 && a.feed.Rand.IntN(2) == 0:
		f.Dst = to
	case family == 0 && a.feed.Rand.IntN(2) == 0:
		f.Dst = broadcast
	}
	a.traffic(&f)
	if a.feed.Rand.IntN(3) == 0 {
		a.service(&f, &o, link, to)
	}
	return attempt{f, o}, f.Src.IsValid(), nil
}

// service makes a packet one that a link cannot work without, or one that is like it.
func (a *attacker) service(f *model.Flow, o *lab.Options, link, to netip.Addr) {
	f.SrcPort, f.DstPort, f.ICMPType = 0, 0, 0
	switch {
	case a.feed.Rand.IntN(4) == 0 && f.Src.Is4():
		f.Src, f.Dst, f.Protocol, f.SrcPort, f.DstPort = unspecified[0], broadcast, model.UDP, 68, 67
		o.Frame = lab.Broadcast
	case f.Src.Is4():
		f.Protocol, f.Dst = 2, everyone[0]
	case a.feed.Rand.IntN(5) == 0:
		f.Src, f.Protocol, f.SrcPort, f.DstPort = link, model.UDP, 546, 547
	default:
		f.Src, f.Protocol, f.ICMPType = link, model.ICMPv6, pick(a.feed, uint8(130), 131, 133, 134, 134, 134, 135, 136, 137, 143)
		if f.ICMPType == 134 || f.ICMPType == 137 {
			f.Dst = to
		}
	}
}

// byNode is a packet of a node to one of its pods, which no policy of the pod governs.
func (a *attacker) byNode(p lab.Pod, family int) (attempt, bool, error) {
	iface, gate, err := a.gateway(p)
	if err != nil {
		return attempt{}, false, err
	}
	f := model.Flow{In: model.Ref{Kind: model.KindNode, Name: p.Node}, Out: refOf(p), Src: gate, Dst: pick(a.feed, everyone[1], a.linkLocal[p.Where()])}
	if family == 0 {
		i := slices.IndexFunc(a.spec.Nodes, func(n lab.Node) bool { return n.Name == p.Node })
		f.Src, f.Dst = a.of(a.spec.Nodes[i].Addrs, 0), everyone[0]
		if !f.Src.IsValid() || a.feed.own[f.Src] || a.feed.Index.Owner(f.Src).Kind == model.KindPod {
			return attempt{}, false, nil
		}
	}
	a.traffic(&f)
	return attempt{f, lab.Options{From: p.Node, Interface: iface, To: []string{p.Where()}}}, true, nil
}
