package startup

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/model"
)

// podSink stands between the source and the agent's sink: pods, and what bears on their
// addresses, take their way through the Overlay, which has them delivered with the
// addresses that they have early.
type podSink struct {
	agent.Sink
	o *Overlay
}

// Synced implements agent.Sink.
func (s *podSink) Synced() {
	s.o.mu.Lock()
	s.o.unknown.synced = true
	s.o.remember()
	s.o.adopt()
	s.o.planKeep()
	s.o.deliver()
	s.o.mu.Unlock()
	s.Sink.Synced()
}

// Update implements agent.Sink.
func (s *podSink) Update(upserts []runtime.Object, deletes []model.Ref) {
	o := s.o
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range deletes {
		switch r.Kind {
		case model.KindPod:
			o.podRemoved(r)
		case reportKind:
			o.podsReported(r.Name, nil)
		default:
			o.unknown.removed(r, o.opts.Node)
			o.delivery.remove(r)
		}
	}
	for _, obj := range upserts {
		switch obj := obj.(type) {
		case *corev1.Pod:
			o.podUpserted(obj)
		case *v1alpha1.PodAddressReport:
			o.podsReported(obj.Name, obj.Pods)
		case *corev1.Node:
			o.nodeUpserted(obj)
			o.unknown.upserted(obj, o.opts.Node)
			o.delivery.upsert(model.Ref{}, obj)
		default:
			o.unknown.upserted(obj, o.opts.Node)
			o.delivery.upsert(model.Ref{}, obj)
		}
	}
	o.deliver()
}
