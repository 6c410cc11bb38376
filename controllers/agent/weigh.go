package agent

import (
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// weigh is how much work a change is: what the object has in writing or, of a pod, how
// much changes where it is a peer. A pod's own policies are not part of it, for they
// are cut apart (late.go).
func (a *intake) weigh(c *change) int {
	if c.ref.Kind != model.KindPod || c.object == nil {
		return convert.Entries(c.object)
	}
	o, _, _ := convert.Object(c.object)
	e, ok := o.(*model.Endpoint)
	if !ok {
		return 1
	}
	a.ixMu.Lock()
	defer a.ixMu.Unlock()
	return a.ix.PeerWeight(e)
}

// known reports whether the index has a pod.
func (a *intake) known(r model.Ref) bool { return a.ix.Find(r) != nil }
