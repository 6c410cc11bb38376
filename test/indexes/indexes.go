// Package indexes makes indexes of API objects, for tests of what reads an index.
package indexes

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/test/oracle"
)

// Of returns the index of objects in which all endpoints are local. Of an object with
// problems it has what conversion makes of it; kinds that the core does not use are left out.
func Of(objects []runtime.Object) *index.Index {
	ix := index.New(index.Options{})
	Add(ix, objects)
	ix.Flush()
	return ix
}

// Add puts objects into an index, as Of does. It does not flush.
func Add(ix *index.Index, objects []runtime.Object) {
	for _, o := range objects {
		if l, ok := o.(*oracle.NodeLinks); ok {
			ix.Upsert(&l.Links)
		} else if m, _, known := convert.Object(o); known && m != nil {
			ix.Upsert(m)
		}
	}
}
