package convert

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// nodeAddressAnnotations are the annotations of Nodes in which pod networks write
// down addresses of the node that its status does not list: those of tunnels, of
// the network's own interfaces, and of health checks. Sorted.
var nodeAddressAnnotations = []string{
	"flannel.alpha.coreos.com/public-ip",
	"flannel.alpha.coreos.com/public-ipv6",
	"network.cilium.io/ipv4-cilium-host",
	"network.cilium.io/ipv4-health-ip",
	"network.cilium.io/ipv6-cilium-host",
	"network.cilium.io/ipv6-health-ip",
	"projectcalico.org/IPv4Address",
	"projectcalico.org/IPv4IPIPTunnelAddr",
	"projectcalico.org/IPv4VXLANTunnelAddr",
	"projectcalico.org/IPv4WireguardInterfaceAddr",
	"projectcalico.org/IPv6Address",
	"projectcalico.org/IPv6VXLANTunnelAddr",
	"projectcalico.org/IPv6WireguardInterfaceAddr",
}

// NodeAnnotations returns those annotations of a Node that are read; nil if it has
// none of them.
func NodeAnnotations(all map[string]string) map[string]string {
	var out map[string]string
	for _, key := range nodeAddressAnnotations {
		if v, ok := all[key]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = v
		}
	}
	return out
}

// node converts a node's addresses: those of its status first, then those of
// annotations. Host names among them are no addresses, and neither is one that does
// not parse: rules cannot mean them.
func node(o *corev1.Node, r *report) model.Object {
	n := &model.Node{Name: o.Name, Labels: r.labels(o.Labels)}
	for i, na := range o.Status.Addresses {
		if na.Type != corev1.NodeInternalIP && na.Type != corev1.NodeExternalIP {
			continue
		}
		a, err := parseAddr(na.Address)
		if err != nil {
			r.warnf(field.NewPath("status", "addresses").Index(i).Child("address"), "%v; the address is left out", err)
			continue
		}
		n.Addrs = appendAddr(n.Addrs, a)
	}
	for _, key := range nodeAddressAnnotations {
		if text := o.Annotations[key]; text != "" {
			a, err := parseNodeAddr(text)
			if err != nil {
				r.warnf(metadataPath.Child("annotations").Key(key), "%v; the annotation is ignored", err)
				continue
			}
			n.Addrs = appendAddr(n.Addrs, a)
		}
	}
	n.PodCIDRs = podCIDRs(o, r)
	return n
}

// parseNodeAddr reads an address with or without the length of its network.
func parseNodeAddr(s string) (netip.Addr, error) {
	if strings.Contains(s, "/") {
		if p, err := netip.ParsePrefix(s); err == nil {
			return parseAddr(p.Addr().String())
		}
	}
	return parseAddr(s)
}

func podCIDRs(o *corev1.Node, r *report) (out []netip.Prefix) {
	cidrs, path := o.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs")
	if len(cidrs) == 0 && o.Spec.PodCIDR != "" {
		cidrs, path = []string{o.Spec.PodCIDR}, nil
	}
	for i, s := range cidrs {
		p, _, err := parseNet(s, cidrOnly)
		if err != nil {
			at := field.NewPath("spec", "podCIDR")
			if path != nil {
				at = path.Index(i)
			}
			r.errorf(at, "%v; the block is left out", err)
			continue
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// hostInterface stands in for the interface of an address that is on one that leads
// to local pods: what comes in for it from elsewhere comes by another one, as it
// does for addresses of the loopback.
const hostInterface = "lo"

// nodeLinks converts what an agent has reported of its node's interfaces; nil if
// it has reported none. What does not parse is left out: it is written by programs,
// and no policy depends on it.
func nodeLinks(o *v1alpha1.NodeReport, r *report) model.Object {
	in := o.Report.Links
	if in == nil {
		return nil
	}
	path := field.NewPath("report", "links")
	l := &model.Links{Node: o.Name}
	for i, x := range in.Addresses {
		a, err := parseAddr(x.Address)
		if err != nil {
			r.warnf(path.Child("addresses").Index(i).Child("address"), "%v; the address is left out", err)
			continue
		}
		on := x.Interface
		if x.LeadsToPods {
			on = hostInterface
		}
		l.Addrs = append(l.Addrs, model.LinkAddr{Addr: a, Interface: on})
	}
	for i, x := range in.Routes {
		p, _, err := parseNet(x.Net, cidrOnly)
		if err != nil {
			r.warnf(path.Child("routes").Index(i).Child("net"), "%v; the route is left out", err)
			continue
		}
		l.Routes = append(l.Routes, model.LinkRoute{Net: p, Interface: x.Interface})
	}
	for i, x := range in.Tunnels {
		p, err := model.ParseProtocol(x.Protocol)
		if err == nil && x.Port != 0 {
			_, err = portNumber(int64(x.Port))
		}
		if err != nil {
			r.warnf(path.Child("tunnels").Index(i), "%v; the tunnel is left out", err)
			continue
		}
		l.Tunnels = append(l.Tunnels, model.Tunnel{Interface: x.Interface, Protocol: p, Port: uint16(x.Port)})
	}
	l.Ghosts = ghostsOf(o, r)
	sortLinks(l)
	return l
}

// ghostsOf reads the ghosts that an agent has reported.
func ghostsOf(o *v1alpha1.NodeReport, r *report) (out []model.Ghost) {
	path := field.NewPath("report", "ghosts")
	for i, x := range o.Report.Ghosts {
		a, err := parseAddr(x.Address)
		if err != nil {
			r.warnf(path.Index(i).Child("address"), "%v; the address is left out", err)
			continue
		}
		ref, err := model.ParseRef(x.Pod)
		if err == nil && ref.Kind != model.KindPodGhost {
			err = fmt.Errorf("invalid value %q: want PodGhost/namespace/name@uid", x.Pod)
		}
		if err != nil {
			r.warnf(path.Index(i).Child("pod"), "%v; the address is left out", err)
			continue
		}
		out = append(out, model.Ghost{Addr: a, Ref: ref})
	}
	slices.SortFunc(out, func(a, b model.Ghost) int { return cmp.Or(a.Addr.Compare(b.Addr), a.Ref.Compare(b.Ref)) })
	return slices.CompactFunc(out, func(a, b model.Ghost) bool { return a.Addr == b.Addr })
}

func sortLinks(l *model.Links) {
	slices.SortFunc(l.Addrs, func(a, b model.LinkAddr) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Interface, b.Interface))
	})
	l.Addrs = slices.Compact(l.Addrs)
	slices.SortFunc(l.Routes, model.CompareRoutes)
	l.Routes = slices.Compact(l.Routes)
	slices.SortFunc(l.Tunnels, func(a, b model.Tunnel) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	l.Tunnels = slices.Compact(l.Tunnels)
}
