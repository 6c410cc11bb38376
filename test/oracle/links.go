package oracle

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/policy/model"
)

// NodeLinks is a node's Links among the objects of a world. It is no object of the API
// server: the agent learns it from its kernel.
type NodeLinks struct{ Links model.Links }

// GetObjectKind implements runtime.Object.
func (*NodeLinks) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object. Links are never changed.
func (l *NodeLinks) DeepCopyObject() runtime.Object { c := *l; return &c }

// linkAddrs are addresses that only a node's kernel knows of.
var linkAddrs = []string{"10.0.0.254", "10.0.1.254", "172.17.0.1", "192.168.7.1", "fd01::77"}

// attach puts most of a node's pods behind interfaces, and some addresses that no pod
// has, or not there: what a kernel reports is never quite what the API server has.
func (s *Stream) attach(l *model.Links, pods string) {
	ported := pods == "cni0" && s.chance(0.8)
	add := func(a netip.Addr, name string) {
		if slices.ContainsFunc(l.Pods, func(p model.PodLink) bool { return p.Addr == a }) {
			return
		}
		p := model.PodLink{Addr: a, Interface: pods}
		switch {
		case pods != "cni0":
			p.Interface = "veth-" + name
		case ported:
			p.Port = "port-" + name
		}
		l.Pods = append(l.Pods, p)
	}
	for _, o := range s.Objects() {
		p, ok := o.(*corev1.Pod)
		if !ok || p.Spec.HostNetwork || p.Spec.NodeName != l.Node {
			continue
		}
		for _, ip := range p.Status.PodIPs {
			if s.chance(0.9) {
				add(netip.MustParseAddr(ip.IP).Unmap(), p.Namespace+p.Name)
			}
		}
	}
	for _, a := range some(s, 3, slices.Concat(podAddrs4, podAddrs6)...) {
		add(netip.MustParseAddr(a), pick(s, "ap0", "bp1", "gone"))
	}
}

// links are those of node i: eth0, and maybe eth1, a bridge, a tunnel and its routes.
func (s *Stream) links(i int) runtime.Object {
	l := model.Links{Node: fmt.Sprintf("n%d", i)}
	add := func(iface string, addrs ...string) {
		for _, a := range addrs {
			l.Addrs = append(l.Addrs, model.LinkAddr{Addr: netip.MustParseAddr(a), Interface: iface})
		}
	}
	route := func(iface string, nets ...string) {
		for _, n := range nets {
			l.Routes = append(l.Routes, model.LinkRoute{Net: netip.MustParsePrefix(n).Masked(), Interface: iface})
		}
	}
	add("lo", "127.0.0.1", "::1")
	add("eth0", hostAddrs[i], hostAddrs[3+i])
	add("eth0", some(s, 1, "192.168.0.9", "192.168.7.1", "fe80::1")...)
	route("eth0", "0.0.0.0/0", "::/0")
	pods := "veth"
	if s.chance(0.5) {
		pods = "cni0"
		add(pods, linkAddrs[i], "fe80::9")
		route(pods, fmt.Sprintf("10.0.%d.0/24", i), fmt.Sprintf("fd00:0:0:%d::/64", i))
	}
	if s.chance(0.6) {
		add("eth1", some(s, 2, "172.17.0.1", "fd01::77", "fe80::1")...)
		route("eth1", some(s, 3, "203.0.113.0/24", "203.0.113.0/30", "2001:db8::/32", "192.168.0.0/16")...)
	}
	if s.chance(0.5) {
		t := pick(s, model.Tunnel{Interface: "vxlan0", Protocol: model.UDP, Port: 4789}, model.Tunnel{Interface: "tunl0", Protocol: 4})
		l.Tunnels = append(l.Tunnels, t)
		add(t.Interface, some(s, 1, "10.0.0.130", "172.17.0.1")...)
		route(t.Interface, some(s, 3, fmt.Sprintf("10.0.%d.0/24", 1-i), "10.0.0.128/25", "10.0.0.8/29", "10.0.0.0/16", "fd00::/16")...)
	}
	s.attach(&l, pods)
	slices.SortFunc(l.Addrs, func(a, b model.LinkAddr) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Interface, b.Interface))
	})
	slices.SortFunc(l.Routes, model.CompareRoutes)
	slices.SortFunc(l.Pods, func(a, b model.PodLink) int { return a.Addr.Compare(b.Addr) })
	return &NodeLinks{l}
}
