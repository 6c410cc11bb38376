package convert

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/policy/model"
)

// Ghost is a pod of a node whose object is gone and whose sandbox may still run.
// Agents make it; no API server has such objects, and no manifest reads as one.
type Ghost struct {
	// Namespace, Name and UID of the pod's object.
	Namespace, Name, UID string
	// Node that the pod is on.
	Node string
	// Addrs that the pod had and that nothing else has since.
	Addrs []netip.Addr
}

var _ runtime.Object = (*Ghost)(nil)

// Ref names the ghost as the core does.
func (g *Ghost) Ref() model.Ref { return model.GhostRef(g.Namespace, g.Name, g.UID) }

// GetObjectKind implements runtime.Object.
func (g *Ghost) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (g *Ghost) DeepCopyObject() runtime.Object {
	c := *g
	c.Addrs = slices.Clone(g.Addrs)
	return &c
}

func ghost(g *Ghost) model.Object {
	if len(g.Addrs) == 0 {
		return nil
	}
	return &model.Endpoint{Ref: g.Ref(), Node: g.Node, Addrs: g.Addrs}
}
