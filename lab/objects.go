//go:build linux

package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// DefaultNode is the node of pods that name none. It has an address that no
// object names, so no host endpoint guards it.
const DefaultNode = "lab-default-node"

// defaultPool is where nodes get addresses from that have none.
var defaultPool4, defaultPool6 = netip.MustParsePrefix("172.31.255.0/24"), netip.MustParsePrefix("fd00:172:31:255::/64")

// FromObjects makes a Spec from Pods, Nodes, HostEndpoints and Services, as
// source.Result.Complete leaves them; others are passed over.
//
// Pods that have finished or have no address are left out. Host-network pods
// share their node's namespace. Nodes that pods or host endpoints name and that
// no object defines are added; nodes without an address get one. Addresses that
// host endpoints of a named interface expect are on an interface of that name. A
// named interface of which no addresses are said is the main one. Of two owners
// of an address the first by name has it.
func FromObjects(objects []runtime.Object) (Spec, []Service, error) {
	b := &builder{nodes: map[string]*Node{}, taken: map[netip.Addr]bool{}}
	for _, o := range sorted[*corev1.Node](objects) {
		b.node(o)
	}
	endpoints := sorted[*v1alpha1.HostEndpoint](objects)
	// The main interface's name first: the others are further ones.
	slices.SortStableFunc(endpoints, func(x, y *v1alpha1.HostEndpoint) int {
		return cmp.Compare(min(len(x.Spec.ExpectedIPs), 1), min(len(y.Spec.ExpectedIPs), 1))
	})
	for _, o := range endpoints {
		b.hostEndpoint(o)
	}
	for _, o := range sorted[*corev1.Pod](objects) {
		b.pod(o)
	}
	for _, p := range b.pods {
		b.ensure(p.Node)
	}
	s := Spec{Pods: b.pods}
	names := make([]string, 0, len(b.nodes))
	for name := range b.nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := b.nodes[name]
		if err := b.complete(n); err != nil {
			return Spec{}, nil, fmt.Errorf("lab: %w", err)
		}
		s.Nodes = append(s.Nodes, *n)
	}
	if err := s.check(); err != nil {
		return Spec{}, nil, fmt.Errorf("lab: %w", err)
	}
	return s, b.services(objects), nil
}

type builder struct {
	nodes map[string]*Node
	pods  []Pod
	taken map[netip.Addr]bool
	ipv6  bool
}

func (b *builder) ensure(name string) *Node {
	n := b.nodes[name]
	if n == nil {
		n = &Node{Name: name}
		b.nodes[name] = n
	}
	return n
}

// take keeps an address for its first owner.
func (b *builder) take(list []netip.Addr, text string) []netip.Addr {
	a, err := netip.ParseAddr(text)
	if a = a.Unmap(); err != nil || b.taken[a] || checkAddr(a) != nil {
		return list
	}
	b.taken[a] = true
	b.ipv6 = b.ipv6 || a.Is6()
	return append(list, a)
}

func (b *builder) node(o *corev1.Node) {
	n := b.ensure(o.Name)
	for _, a := range o.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			n.Addrs = b.take(n.Addrs, a.Address)
		}
	}
	for _, text := range append([]string{o.Spec.PodCIDR}, o.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().Is4In6() && !slices.Contains(n.PodCIDRs, p.Masked()) {
			n.PodCIDRs = append(n.PodCIDRs, p.Masked())
		}
	}
}

func (b *builder) pod(o *corev1.Pod) {
	if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		return
	}
	p := Pod{Namespace: o.Namespace, Name: o.Name, Node: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork}
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	if p.Node == "" {
		p.Node = DefaultNode
	}
	if !p.HostNetwork {
		for _, ip := range append([]corev1.PodIP{{IP: o.Status.PodIP}}, o.Status.PodIPs...) {
			p.Addrs = b.take(p.Addrs, ip.IP)
		}
		if len(p.Addrs) == 0 {
			return
		}
	}
	b.pods = append(b.pods, p)
}

func (b *builder) hostEndpoint(h *v1alpha1.HostEndpoint) {
	if h.Spec.Node == "" {
		return
	}
	n := b.ensure(h.Spec.Node)
	list := &n.Addrs
	name := h.Spec.InterfaceName
	named := name != "" && name != "*" && name != "lo" && name != bridgeName
	switch {
	case named && len(h.Spec.ExpectedIPs) == 0 && n.Interface == "":
		n.Interface = name
	case named && name != n.main():
		i := slices.IndexFunc(n.Links, func(l Link) bool { return l.Name == name })
		if i < 0 {
			i = len(n.Links)
			n.Links = append(n.Links, Link{Name: name})
		}
		list = &n.Links[i].Addrs
	}
	for _, text := range h.Spec.ExpectedIPs {
		a, err := netip.ParseAddr(text)
		if a = a.Unmap(); err == nil && list != &n.Addrs && slices.Contains(n.Addrs, a) {
			// It is one of the node's addresses too: it moves to its interface.
			n.Addrs = dropAddr(n.Addrs, a)
			delete(b.taken, a)
		}
		*list = b.take(*list, text)
	}
}

// complete gives a node without an address one of each family in use.
func (b *builder) complete(n *Node) error {
	if len(n.Addrs) > 0 {
		return nil
	}
	for _, pool := range []netip.Prefix{defaultPool4, defaultPool6} {
		if pool.Addr().Is6() && !b.ipv6 {
			continue
		}
		a, ok := freeOf(pool, func(a netip.Addr) bool { return b.taken[a] })
		if !ok {
			return fmt.Errorf("node %s: no free address in %s", n.Name, pool)
		}
		n.Addrs = b.take(n.Addrs, a.String())
	}
	return nil
}

// services lists the cluster addresses of Services with the backends that the
// EndpointSlices among the objects name.
func (b *builder) services(objects []runtime.Object) []Service {
	var out []Service
	for _, s := range sorted[*corev1.Service](objects) {
		for _, ip := range clusterIPs(s) {
			for _, port := range s.Spec.Ports {
				protocol, err := model.ParseProtocol(string(port.Protocol))
				if err != nil {
					protocol = model.TCP
				}
				if port.Port < 1 || port.Port > 65535 || !slices.Contains([]model.Protocol{model.TCP, model.UDP, model.SCTP}, protocol) {
					continue
				}
				v := Service{Addr: netip.AddrPortFrom(ip, uint16(port.Port)), Protocol: protocol}
				v.Backends = b.backends(objects, s, port.Name, protocol, ip.Is4())
				if len(v.Backends) > 0 {
					out = append(out, v)
				}
			}
		}
	}
	slices.SortFunc(out, func(x, y Service) int {
		if c := x.Addr.Compare(y.Addr); c != 0 {
			return c
		}
		return int(x.Protocol) - int(y.Protocol)
	})
	return out
}

func clusterIPs(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, text := range append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...) {
		if a, err := netip.ParseAddr(text); err == nil && checkAddr(a) == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// backends lists the ready endpoints of a port of a service that the lab has.
func (b *builder) backends(objects []runtime.Object, s *corev1.Service, port string, protocol model.Protocol, is4 bool) []netip.AddrPort {
	var out []netip.AddrPort
	for _, e := range sorted[*discoveryv1.EndpointSlice](objects) {
		if e.Namespace != s.Namespace || e.Labels[discoveryv1.LabelServiceName] != s.Name {
			continue
		}
		for _, p := range e.Ports {
			name, number, proto := "", int32(0), "TCP"
			if p.Name != nil {
				name = *p.Name
			}
			if p.Port != nil {
				number = *p.Port
			}
			if p.Protocol != nil {
				proto = string(*p.Protocol)
			}
			if q, err := model.ParseProtocol(proto); err != nil || q != protocol || name != port || number < 1 || number > 65535 {
				continue
			}
			for _, ep := range e.Endpoints {
				if ep.Conditions.Ready != nil && !*ep.Conditions.Ready {
					continue
				}
				for _, text := range ep.Addresses {
					a, err := netip.ParseAddr(text)
					at := netip.AddrPortFrom(a, uint16(number))
					if err == nil && a.Is4() == is4 && b.taken[a] && !slices.Contains(out, at) {
						out = append(out, at)
					}
				}
			}
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// sorted lists the objects of a type by namespace and name.
func sorted[T metav1.Object](objects []runtime.Object) []T {
	var out []T
	for _, o := range objects {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}
