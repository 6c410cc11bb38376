package startup

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Sandbox is the network namespace of a pod, as the container runtime tells of it.
type Sandbox struct {
	// ID is the runtime's name of it. A pod may have several, one after the other.
	ID string
	// Namespace, Name and UID of the pod, as the kubelet calls it. A static pod's UID
	// is not that of its mirror in the API server.
	Namespace, Name, UID string
	// Addrs that the runtime has given it.
	Addrs []netip.Addr
	// Running: its process runs. Of a sandbox that is listed and not running, nothing
	// is known. Started takes it for granted.
	Running bool
}

func (s *Sandbox) key() key { return key{s.Namespace, s.Name} }

// key names a pod.
type key struct{ namespace, name string }

// box is the newest sandbox of a pod.
type box struct {
	Sandbox
	// listed sandboxes were there before the runtime was listened to: the status
	// of their pods is newer, if it says anything.
	listed bool
	// ended sandboxes have stopped.
	ended bool
	// before is what the status said when the sandbox had just started: the
	// addresses of the one before it. Valid if met.
	before []netip.Addr
	met    bool
}

// meet notes the status that a pod has when it and the sandbox are first both known.
func (b *box) meet(status []netip.Addr) {
	if !b.met {
		b.before, b.met = status, true
	}
}

// of reports whether a sandbox is that of a pod and not of one that had its name.
func (b *box) of(p *corev1.Pod) bool {
	return b.UID == string(p.UID) || b.UID != "" && b.UID == p.Annotations[corev1.MirrorPodAnnotationKey]
}

// addresses are those of a pod of this node: what its status says, unless its
// sandbox knows better. Both are sorted. A nil sandbox knows nothing.
func addresses(status []netip.Addr, b *box) []netip.Addr {
	switch {
	case b == nil:
		return status
	case b.ended:
		// The addresses of a sandbox that has stopped may have a new owner.
		for _, a := range status {
			if !slices.Contains(b.Addrs, a) {
				return status
			}
		}
		return nil
	case len(status) == 0, !b.listed && b.met && slices.Equal(status, b.before):
		return b.Addrs
	}
	return status
}

// statusAddrs are the addresses of a pod's status, sorted; what is none is left out.
func statusAddrs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		out = appendAddr(out, ip.IP)
	}
	if p.Status.PodIP != "" {
		out = appendAddr(out, p.Status.PodIP)
	}
	return tidy(out)
}

func appendAddr(out []netip.Addr, text string) []netip.Addr {
	if a, err := netip.ParseAddr(text); err == nil && usable(a.Unmap()) {
		out = append(out, a.Unmap())
	}
	return out
}

// usable reports whether a pod may have an address.
func usable(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

func tidy(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// withAddrs is a copy of a pod whose status has these addresses.
func withAddrs(p *corev1.Pod, addrs []netip.Addr) *corev1.Pod {
	c := *p
	c.Status.PodIP, c.Status.PodIPs = addrs[0].String(), make([]corev1.PodIP, len(addrs))
	for i, a := range addrs {
		c.Status.PodIPs[i].IP = a.String()
	}
	return &c
}
