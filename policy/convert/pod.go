package convert

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/policy/model"
)

// pod converts a pod that is an endpoint. One that is being deleted still
// runs, sends and receives, so it is one until its phase or its deletion says
// otherwise.
func pod(o *corev1.Pod, r *report) model.Object {
	if o.Spec.HostNetwork || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		return nil
	}
	e := &model.Endpoint{
		Ref:            r.ref,
		Node:           o.Spec.NodeName,
		Labels:         r.labels(o.Labels),
		ServiceAccount: o.Spec.ServiceAccountName,
		Ports:          podPorts(o, r),
	}
	if e.ServiceAccount == "" {
		e.ServiceAccount = o.Spec.DeprecatedServiceAccount
	}
	status := field.NewPath("status")
	for i, ip := range o.Status.PodIPs {
		a, err := parseAddr(ip.IP)
		if err != nil {
			r.errorf(status.Child("podIPs").Index(i).Child("ip"), "%v; the address is left out", err)
			continue
		}
		e.Addrs = appendAddr(e.Addrs, a)
	}
	if ip := o.Status.PodIP; ip != "" {
		a, err := parseAddr(ip)
		if err != nil {
			// An API server repeats podIPs[0] here: one report is enough.
			if len(o.Status.PodIPs) == 0 || o.Status.PodIPs[0].IP != ip {
				r.errorf(status.Child("podIP"), "%v; the address is left out", err)
			}
		} else {
			e.Addrs = appendAddr(e.Addrs, a)
		}
	}
	if len(e.Addrs) == 0 {
		return nil
	}
	return e
}

// podPorts collects the named ports of the containers that run as long as the
// pod does: all but the init containers that finish.
func podPorts(o *corev1.Pod, r *report) []model.NamedPort {
	var out []model.NamedPort
	add := func(list string, i int, c *corev1.Container) {
		for j := range c.Ports {
			cp := &c.Ports[j]
			if cp.Name == "" {
				continue
			}
			path := func() *field.Path { return field.NewPath("spec", list).Index(i).Child("ports").Index(j) }
			p := model.NamedPort{Name: cp.Name, Protocol: model.TCP}
			var err error
			if cp.Protocol != "" {
				if p.Protocol, err = kubernetesProtocol(cp.Protocol); err != nil {
					r.errorf(path().Child("protocol"), "%v; the port is left out", err)
					continue
				}
			}
			if p.Port, err = portNumber(int64(cp.ContainerPort)); err != nil {
				r.errorf(path().Child("containerPort"), "%v; the port is left out", err)
				continue
			}
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	for i := range o.Spec.InitContainers {
		c := &o.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add("initContainers", i, c)
		}
	}
	for i := range o.Spec.Containers {
		add("containers", i, &o.Spec.Containers[i])
	}
	return out
}
