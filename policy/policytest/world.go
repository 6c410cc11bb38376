package policytest

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/nearest"
)

// World is what the names in cases are looked up in.
type World struct {
	// Index holds the objects, flushed.
	Index *policy.Index

	pods map[model.Ref]*corev1.Pod
}

// NewWorld returns a World. The objects are those that the index was made from:
// of them it keeps the pods that are no endpoints (on the host's network,
// finished, without an address), so that a case that names one can be resolved
// or refused with the reason.
func NewWorld(ix *policy.Index, objects []runtime.Object) *World {
	w := &World{Index: ix, pods: map[model.Ref]*corev1.Pod{}}
	for _, o := range objects {
		if p, ok := o.(*corev1.Pod); ok {
			w.pods[model.Ref{Kind: model.KindPod, Namespace: p.Namespace, Name: p.Name}] = p
		}
	}
	return w
}

// party is one end of a connection.
type party struct {
	addrs []netip.Addr // in the order of preference
	ports []model.NamedPort
}

// hostParty is a host endpoint or node: without addresses of its own it has the node's.
func (w *World) hostParty(node string, addrs []netip.Addr, ports []model.NamedPort) party {
	if n := w.Index.Node(node); len(addrs) == 0 && n != nil {
		addrs = n.Addrs
	}
	return party{addrs: addrs, ports: ports}
}

// pod finds the addresses and ports of a pod, of a host-network pod those of its
// node. why says what keeps a pod from having any.
func (w *World) pod(ref model.Ref) (p party, why string) {
	if e, ok := w.Index.Endpoint(ref); ok {
		return party{addrs: e.Addrs, ports: e.Ports}, ""
	}
	pod, ok := w.pods[ref]
	switch {
	case !ok:
		why = "there is no such pod"
		if n, ok := nearest.Ref(ref, w.podNames()); ok {
			why += "; did you mean " + n.Namespace + "/" + n.Name + "?"
		}
		return party{}, why
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return party{}, "the pod has finished (phase " + string(pod.Status.Phase) + "): it sends and receives nothing"
	case !pod.Spec.HostNetwork:
		return party{}, "the pod has no address"
	}
	var addrs []netip.Addr
	for _, ip := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		if a, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(addrs, a.Unmap()) {
			addrs = append(addrs, a.Unmap())
		}
	}
	p = w.hostParty(pod.Spec.NodeName, addrs, containerPorts(pod))
	if len(p.addrs) == 0 {
		return party{}, "the pod is on the host's network, and its node " + cmp.Or(pod.Spec.NodeName, "(none)") + " has no address"
	}
	return p, ""
}

func containerPorts(pod *corev1.Pod) []model.NamedPort {
	var out []model.NamedPort
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			protocol, err := model.ParseProtocol(string(cmp.Or(p.Protocol, corev1.ProtocolTCP)))
			if err == nil && p.Name != "" && p.ContainerPort > 0 && p.ContainerPort <= 65535 {
				out = append(out, model.NamedPort{Name: p.Name, Protocol: protocol, Port: uint16(p.ContainerPort)})
			}
		}
	}
	return out
}

func (w *World) podNames() []model.Ref {
	var out []model.Ref
	for ref := range w.pods {
		out = append(out, ref)
	}
	slices.SortFunc(out, model.Ref.Compare)
	return out
}
