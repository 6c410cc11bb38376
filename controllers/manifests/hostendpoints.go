package manifests

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// autoHostEndpointSuffix follows the node's name in that of its automatic host endpoint.
const autoHostEndpointSuffix = "-auto-hep"

// completeHostEndpoints adds the host endpoints that the operator makes for a
// Tierwall object with autoHostEndpoints, where they are not among the objects.
func (r *Result) completeHostEndpoints() {
	o, ok := r.Lookup(model.Ref{Kind: model.KindTierwall, Name: v1alpha1.TierwallName})
	if !ok {
		return
	}
	t, ok := o.Object.(*v1alpha1.Tierwall)
	if !ok || !t.Spec.AutoHostEndpoints {
		return
	}
	type made struct {
		h    *v1alpha1.HostEndpoint
		from Object
	}
	var add []made
	for _, n := range all[*corev1.Node](r) {
		h := AutoHostEndpoint(n.v)
		add = append(add, made{h, *n.o})
	}
	for _, m := range add {
		ref := model.Ref{Kind: model.KindHostEndpoint, Name: m.h.Name}
		if _, have := r.Lookup(ref); !have {
			r.addMade(m.h, v1alpha1.GroupVersion.WithKind("HostEndpoint"), ref, &m.from)
		}
	}
}

// AutoHostEndpoint returns the host endpoint that a node gets by itself where
// Tierwall.spec.autoHostEndpoints is set: it guards all interfaces, bears the
// node's labels and addresses, and allows what no policy decides.
func AutoHostEndpoint(n *corev1.Node) *v1alpha1.HostEndpoint {
	allow := v1alpha1.Allow
	h := &v1alpha1.HostEndpoint{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name + autoHostEndpointSuffix, Labels: maps.Clone(n.Labels)},
		Spec:       v1alpha1.HostEndpointSpec{Node: n.Name, InterfaceName: "*", DefaultAction: &allow},
	}
	for _, addr := range nodeAddrs(n) {
		h.Spec.ExpectedIPs = append(h.Spec.ExpectedIPs, addr.String())
	}
	return h
}
