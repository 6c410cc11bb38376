package startup

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/model"
)

// delivery collects changes of objects, and passes them on to the agent in one call.
type delivery struct {
	to      agent.Sink // nil: nothing is passed on yet
	changes []change
}

// change is an object that is new or changed or, with a nil object, gone. Without a ref no
// other change is of the same object.
type change struct {
	ref    model.Ref
	object runtime.Object
}

func (d *delivery) upsert(r model.Ref, o runtime.Object) {
	d.changes = append(d.changes, change{r, o})
}

func (d *delivery) remove(r model.Ref) { d.changes = append(d.changes, change{ref: r}) }

// send passes the changes on; of several changes of one object it passes on the last.
func (d *delivery) send() {
	if d.to == nil || len(d.changes) == 0 {
		return
	}
	var upserts []runtime.Object
	var deletes []model.Ref
	last := map[model.Ref]int{}
	if len(d.changes) > 1 {
		for i, c := range d.changes {
			if c.ref != (model.Ref{}) {
				last[c.ref] = i
			}
		}
	}
	for i, c := range d.changes {
		if at, several := last[c.ref]; several && at != i {
			continue
		}
		if c.object == nil {
			deletes = append(deletes, c.ref)
		} else {
			upserts = append(upserts, c.object)
		}
	}
	d.changes = d.changes[:0]
	d.to.Update(upserts, deletes)
}
