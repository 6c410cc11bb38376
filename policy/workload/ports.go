package workload

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
)

// NamedPort finds a port of a pod by its name; 0 if there is none. The ports of an
// ordinary init container no longer exist when others can reach the pod; those of a
// restartable one, a sidecar, do.
func NamedPort(p *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	for _, c := range Containers(p) {
		for _, port := range c.Ports {
			if port.Name == name && cmp.Or(port.Protocol, corev1.ProtocolTCP) == protocol {
				return port.ContainerPort
			}
		}
	}
	return 0
}

// Containers are those that run while a pod does: the containers, and the restartable
// init containers.
func Containers(p *corev1.Pod) []corev1.Container {
	out := p.Spec.Containers[:len(p.Spec.Containers):len(p.Spec.Containers)]
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}
