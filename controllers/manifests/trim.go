package manifests

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/lint"
)

// Trim returns a copy of an object of a live cluster that holds only what is
// read of it: package convert makes the same of both. It shares maps and slices
// with the original, and nothing that would keep the rest of it in memory. Of
// kinds that it does not know only the managed fields go, in place.
func Trim(o runtime.Object) runtime.Object {
	switch o := o.(type) {
	case *corev1.Pod:
		return &corev1.Pod{
			ObjectMeta: leastMeta(&o.ObjectMeta),
			Spec: corev1.PodSpec{
				NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork,
				ServiceAccountName: o.Spec.ServiceAccountName, DeprecatedServiceAccount: o.Spec.DeprecatedServiceAccount,
				Containers: trimContainers(o.Spec.Containers), InitContainers: trimContainers(o.Spec.InitContainers),
			},
			Status: corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs},
		}
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: leastMeta(&o.ObjectMeta)}
	case *corev1.ServiceAccount:
		return &corev1.ServiceAccount{ObjectMeta: leastMeta(&o.ObjectMeta)}
	case *corev1.Node:
		return &corev1.Node{
			ObjectMeta: nodeMeta(&o.ObjectMeta),
			Spec:       corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs},
			Status:     corev1.NodeStatus{Addresses: o.Status.Addresses},
		}
	case *discoveryv1.EndpointSlice:
		return trimSlice(o)
	case *networkingv1.NetworkPolicy:
		return &networkingv1.NetworkPolicy{ObjectMeta: policyMeta(&o.ObjectMeta), Spec: o.Spec}
	case *v1alpha1.NodeReport:
		var past []v1alpha1.FailedPolicy
		for i := range o.Report.Failed {
			if budget.FormOf(&o.Report.Failed[i]) != "" {
				past = append(past, o.Report.Failed[i])
			}
		}
		return &v1alpha1.NodeReport{ObjectMeta: leastMeta(&o.ObjectMeta), Report: v1alpha1.NodeState{Links: o.Report.Links, Ghosts: o.Report.Ghosts, Failed: past}}
	}
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(nil)
	}
	return o
}

// readOf are the fields that are read of types that hold much more, in objects from files:
// at least what Trim leaves, and what Complete goes by.
var readOf = map[reflect.Type][]string{
	reflect.TypeFor[corev1.PodSpec]():   {"nodeName", "hostNetwork", "serviceAccountName", "serviceAccount", "containers", "initContainers"},
	reflect.TypeFor[corev1.Container](): {"name", "ports", "restartPolicy"},
	reflect.TypeFor[corev1.PodStatus](): {"phase", "podIP", "podIPs", "hostIP"},
}

// leastMeta is names and labels.
func leastMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, Labels: m.Labels}
}

// nodeMeta is names, labels and the annotations that hold addresses.
func nodeMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	out := leastMeta(m)
	out.Annotations = convert.NodeAnnotations(m.Annotations)
	return out
}

// policyMeta is the metadata of what people write. The generation tells which
// version of it is in force.
func policyMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	out := leastMeta(m)
	out.UID, out.Generation, out.CreationTimestamp = m.UID, m.Generation, m.CreationTimestamp
	for _, key := range []string{v1alpha1.EnforcementAnnotation, lint.IgnoreAnnotation} {
		if v, ok := m.Annotations[key]; ok {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[key] = v
		}
	}
	return out
}

// trimContainers keeps the named ports, of the containers that have some.
func trimContainers(in []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for i := range in {
		var ports []corev1.ContainerPort
		for _, p := range in[i].Ports {
			if p.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: p.Name, Protocol: p.Protocol, ContainerPort: p.ContainerPort})
			}
		}
		if ports != nil {
			out = append(out, corev1.Container{RestartPolicy: in[i].RestartPolicy, Ports: ports})
		}
	}
	return out
}

func trimSlice(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name},
		AddressType: s.AddressType,
		Endpoints:   make([]discoveryv1.Endpoint, len(s.Endpoints)),
		Ports:       make([]discoveryv1.EndpointPort, len(s.Ports)),
	}
	if v, ok := s.Labels[discoveryv1.LabelServiceName]; ok {
		out.Labels = map[string]string{discoveryv1.LabelServiceName: v}
	}
	for i := range s.Endpoints {
		out.Endpoints[i].Addresses = s.Endpoints[i].Addresses
	}
	for i := range s.Ports {
		out.Ports[i].Protocol, out.Ports[i].Port = s.Ports[i].Protocol, s.Ports[i].Port
	}
	return out
}
