package oracle

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

func (s *Stream) tierwall() runtime.Object {
	t := &v1alpha1.Tierwall{ObjectMeta: meta("", "default", nil)}
	if s.chance(0.1) {
		t.Name = "other"
	}
	t.Spec.EndpointToHostAction = pick(s, "", v1alpha1.EndpointToHostAccept, v1alpha1.EndpointToHostDrop, v1alpha1.EndpointToHostReturn)
	// By when it is made, so that what is random elsewhere stays what it was.
	sets := []v1alpha1.NamespacedSets{"", v1alpha1.NamespacedSetsSelected, v1alpha1.NamespacedSetsEverywhere, v1alpha1.NamespacedSetsAuto}
	t.Spec.NamespacedSets, t.Status.NamespacedSets = sets[s.events%4], sets[s.events/4%3]
	t.Spec.UnknownWorkloads = pick(s, "", v1alpha1.Allow, v1alpha1.Deny)
	list := func() *[]v1alpha1.FailsafePort {
		if s.chance(0.5) {
			return nil
		}
		l := some(s, 3,
			v1alpha1.FailsafePort{Protocol: intstr.FromString("TCP"), Port: 22},
			v1alpha1.FailsafePort{Port: 80, Net: "10.0.0.0/24"},
			v1alpha1.FailsafePort{Protocol: intstr.FromString("UDP"), Port: 53, Net: "fd00::/16"},
			v1alpha1.FailsafePort{Protocol: intstr.FromString("TCP"), Port: 8080, Net: "203.0.113.1/24"},
		)
		if s.invalid() {
			l = append(l, pick(s, v1alpha1.FailsafePort{Port: 0}, v1alpha1.FailsafePort{Port: 80, Net: "10.0.0.0/50"},
				v1alpha1.FailsafePort{Protocol: intstr.FromString("QUIC"), Port: 80}))
		}
		return &l
	}
	t.Spec.Failsafe = v1alpha1.Failsafe{Inbound: list(), Outbound: list()}
	if s.cfg.Guards {
		s.guards(t)
	}
	return t
}

func (s *Stream) guards(t *v1alpha1.Tierwall) {
	mode := func() v1alpha1.GuardMode {
		return pick(s, "", v1alpha1.GuardAuto, v1alpha1.GuardEnforce, v1alpha1.GuardEnforce, v1alpha1.GuardEnforce, v1alpha1.GuardCount, v1alpha1.GuardOff)
	}
	t.Spec.SourceGuard, t.Spec.LinkGuard, t.Spec.EncapsulationGuard, t.Spec.WildcardGuard = mode(), mode(), mode(), mode()
	t.Status.Guards = pick(s, "", v1alpha1.GuardEnforce, v1alpha1.GuardCount)
	if s.chance(0.2) {
		t.Spec.Failsafe.Tunnels = ptr(s.chance(0.3))
	}
	if s.invalid() {
		t.Spec.LinkGuard = "off"
	}
}
