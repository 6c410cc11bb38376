package agent

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// ghosts are the pods of the node whose object is gone and whose sandbox may still
// run, for a Status. The source says which there are.
type ghosts struct {
	by   map[model.Ref]*model.Endpoint
	list []model.Ghost // made of them; nil: not yet
}

// note takes a ghost that is new, changed or, with nil, gone.
func (g *ghosts) note(r model.Ref, e *model.Endpoint) {
	g.list = nil
	if e == nil {
		delete(g.by, r)
		return
	}
	if g.by == nil {
		g.by = map[model.Ref]*model.Endpoint{}
	}
	g.by[r] = e
}

// sorted lists their addresses. The list is not changed afterwards.
func (g *ghosts) sorted() []model.Ghost {
	if g.list == nil && len(g.by) > 0 {
		for e := range maps.Values(g.by) {
			for _, a := range e.Addrs {
				g.list = append(g.list, model.Ghost{Addr: a, Ref: e.Ref})
			}
		}
		slices.SortFunc(g.list, func(x, y model.Ghost) int { return cmp.Or(x.Addr.Compare(y.Addr), x.Ref.Compare(y.Ref)) })
	}
	return g.list
}
