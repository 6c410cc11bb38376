package policytest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/nearest"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
	"github.com/tierwall/tierwall/policy/workload"
)

// World is what the names in cases are looked up in.
type World struct {
	// Index holds the objects, flushed.
	Index *index.Index

	pods      map[model.Ref]*corev1.Pod
	workloads *workload.Set
	services  []packets.Service
}

// NewWorld returns a World. The objects are those that the index was made from:
// of them it keeps the pods that are no endpoints (on the host's network,
// finished, without an address), so that a case that names one can be resolved
// or refused with the reason, the workloads, whose names stand for their pods, and
// the Services, whose addresses stand for their endpoints.
func NewWorld(ix *index.Index, objects []runtime.Object) *World {
	w := &World{Index: ix, pods: map[model.Ref]*corev1.Pod{}, workloads: workload.NewSet(objects), services: service.Read(objects)}
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
	if ref, why = w.Pod(ref); why != "" {
		return party{}, why
	}
	if e, ok := w.Index.Endpoint(ref); ok {
		return party{addrs: e.Addrs, ports: e.Ports}, ""
	}
	switch pod := w.pods[ref]; {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return party{}, "the pod has finished (phase " + string(pod.Status.Phase) + "): it sends and receives nothing"
	case !pod.Spec.HostNetwork:
		return party{}, "the pod has no address"
	}
	pod := w.pods[ref]
	var addrs []netip.Addr
	for _, ip := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		if a, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(addrs, a.Unmap()) {
			addrs = append(addrs, a.Unmap())
		}
	}
	p = w.hostParty(pod.Spec.NodeName, addrs, containerPorts(pod))
	if len(p.addrs) == 0 {
		return party{}, "the pod is on the host network, and its node " + cmp.Or(pod.Spec.NodeName, "(none)") + " has no address"
	}
	return p, ""
}

// Pod returns the pod that a name stands for: the pod of that name, or, where none of it
// runs, one of the workload of that name. The namespace may be a kind of workload in
// kubectl's words, as in deploy/web, where only one workload is meant then. why says
// that there is none.
func (w *World) Pod(ref model.Ref) (pod model.Ref, why string) {
	exact, there := w.pods[ref]
	if _, ok := w.Index.Endpoint(ref); ok || there && workload.Runs(exact) {
		return ref, ""
	}
	found := w.workloads.Named(ref.Namespace, ref.Name)
	if kind, ok := workload.KindOf(ref.Namespace); ok && len(found) == 0 && !there {
		if found = w.workloads.OfKind(kind, ref.Name); len(found) > 1 {
			return ref, fmt.Sprintf("namespaces %s and %s both have a %s of this name; want NAMESPACE/%s", found[0].Ref.Namespace, found[1].Ref.Namespace, kind, ref.Name)
		}
	}
	for _, x := range found {
		if pods := w.workloads.Pods(x); len(pods) > 0 {
			return model.Ref{Kind: model.KindPod, Namespace: pods[0].Namespace, Name: pods[0].Name}, ""
		}
	}
	if there {
		return ref, ""
	}
	why = "there is no such pod"
	if n, ok := nearest.Ref(ref, w.podNames()); ok {
		why += "; did you mean " + n.Namespace + "/" + n.Name + "?"
	}
	return ref, why
}

func containerPorts(pod *corev1.Pod) []model.NamedPort {
	var out []model.NamedPort
	for _, c := range workload.Containers(pod) {
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
