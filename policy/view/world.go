package view

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/reach"
	"github.com/tierwall/tierwall/policy/service"
	"github.com/tierwall/tierwall/policy/workload"
)

// World is one state of the objects. Not safe for concurrent use: what has been evaluated
// once is kept.
type World struct {
	index    *index.Index
	names    *policytest.World
	units    *reach.Map
	services []packets.Service
	problems map[model.Ref][]model.Problem
	nodes    map[model.Ref]*v1alpha1.NodeCounts
	ends     ends
	// allowed is the Map without flows, once it was drawn: it takes the most time.
	allowed *Map
	at      map[*reach.Unit]int
}

// NewWorld returns the World of an index, flushed, in which all endpoints are local, and
// of the objects and DNS answers that it was built from. The problems are those that their
// conversion has found.
func NewWorld(ix *index.Index, objects []runtime.Object, book *answers.Book, problems []model.Problem) *World {
	w := &World{
		index: ix, names: policytest.NewWorld(ix, objects, book), services: service.Read(objects),
		problems: map[model.Ref][]model.Problem{}, nodes: map[model.Ref]*v1alpha1.NodeCounts{},
	}
	for _, p := range problems {
		w.problems[p.Object] = append(w.problems[p.Object], p)
	}
	owners := map[model.Ref]string{}
	for _, o := range objects {
		ref, ok := convert.RefOf(o)
		if !ok {
			continue
		}
		switch o := o.(type) {
		case *corev1.Pod:
			owners[ref] = workload.NameOf(o)
		case *v1alpha1.GlobalNetworkPolicy:
			w.nodes[ref] = o.Status.Nodes
		case *v1alpha1.NetworkPolicy:
			w.nodes[ref] = o.Status.Nodes
		}
	}
	w.units = reach.New(ix, reach.Options{Workload: func(r model.Ref) string { return owners[r] }})
	w.ends = newEnds(w.units)
	return w
}

// Counts are how many of each kind of object there are.
type Counts struct {
	Tiers      int `json:"tiers"`
	Policies   int `json:"policies"`
	Namespaces int `json:"namespaces"`
	Workloads  int `json:"workloads"`
	Pods       int `json:"pods"`
	Nodes      int `json:"nodes"`
}

// Counts counts. Namespaces are those with pods.
func (w *World) Counts() Counts {
	c := Counts{Tiers: len(w.index.Tiers()), Policies: len(w.index.Policies()), Workloads: len(w.units.Pods), Nodes: len(w.index.Nodes())}
	namespaces := map[string]bool{}
	for _, u := range w.units.Pods {
		namespaces[u.Namespace] = true
		c.Pods += len(u.Members)
	}
	c.Namespaces = len(namespaces)
	return c
}

// Peers are the names of at most n ends that a Question can name, sorted.
func (w *World) Peers(n int) []string {
	out := []string{}
	for _, u := range w.units.Pods {
		out = append(out, u.Name)
	}
	for _, s := range w.services {
		out = append(out, "svc:"+s.Ref.Namespace+"/"+s.Ref.Name)
	}
	for _, x := range w.index.Nodes() {
		out = append(out, "node:"+x.Name)
	}
	slices.Sort(out)
	return out[:min(len(out), n)]
}
