package cluster

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/source"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// layers put together what the cluster holds and what follows from it: Calico's
// objects, translated, and the automatic host endpoints. Of several objects of
// one name the cluster's own counts, then the translated one, then the
// automatic one.
type layers struct {
	to  agent.Sink
	log *slog.Logger
	// stale is called when derive has something to do. It does not block.
	stale func()

	mu sync.Mutex
	// own are the cluster's objects of the kinds that can be derived too.
	own map[model.Ref]struct{}
	// derived is what has been derived, delivered or not.
	derived map[model.Ref]runtime.Object
	// foreign are translated objects, by where they are from.
	foreign map[foreignKey]translate.Result
	nodes   map[string]*corev1.Node
	// settings is Tierwall/default, if it is there.
	settings *v1alpha1.Tierwall
	// services says whether EndpointSlices are read.
	services services
}

// foreignKey names a foreign object. rank is its kind's place.
type foreignKey struct {
	rank            int
	namespace, name string
}

func (a foreignKey) compare(b foreignKey) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}

func newLayers(to agent.Sink, log *slog.Logger, stale func()) *layers {
	return &layers{
		to: to, log: log, stale: stale, own: map[model.Ref]struct{}{}, derived: map[model.Ref]runtime.Object{},
		foreign: map[foreignKey]translate.Result{}, nodes: map[string]*corev1.Node{},
		services: services{waiting: map[model.Ref]runtime.Object{}},
	}
}

// derivable says whether objects of a kind can be derived.
func derivable(k *kind) bool {
	return k.ours
}

// ownOutlet takes the cluster's own objects of a kind.
type ownOutlet struct {
	*layers
	kind *kind
}

func (o ownOutlet) ref(namespace, name string) model.Ref {
	return model.Ref{Kind: o.kind.ref, Namespace: namespace, Name: name}
}

// upsert implements outlet.
func (o ownOutlet) upsert(namespace, name string, made any) {
	obj, ok := made.(runtime.Object)
	if !ok {
		return
	}
	if !derivable(o.kind) && o.kind.ref != model.KindNode {
		o.to.Update([]runtime.Object{obj}, nil)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch obj := obj.(type) {
	case *corev1.Node:
		o.nodes[name] = obj
		o.stale()
	case *v1alpha1.Tierwall:
		if name == v1alpha1.TierwallName {
			o.settings = obj
			o.stale()
		}
	}
	if derivable(o.kind) {
		r := o.ref(namespace, name)
		o.own[r] = struct{}{}
		if o.mustWait(r, obj) {
			return
		}
	}
	o.to.Update([]runtime.Object{obj}, nil)
}

// remove implements outlet.
func (o ownOutlet) remove(namespace, name string) {
	r := o.ref(namespace, name)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch r.Kind {
	case model.KindNode:
		delete(o.nodes, name)
		o.stale()
	case model.KindTierwall:
		if name == v1alpha1.TierwallName {
			o.settings = nil
			o.stale()
		}
	}
	delete(o.own, r)
	delete(o.services.waiting, r)
	if below := o.derived[r]; below != nil {
		o.to.Update([]runtime.Object{below}, nil)
		return
	}
	o.to.Update(nil, []model.Ref{r})
}

// foreignOutlet takes foreign objects of a kind.
type foreignOutlet struct {
	*layers
	kind *kind
	rank int
}

// upsert implements outlet.
func (o foreignOutlet) upsert(namespace, name string, made any) {
	t, ok := made.(translate.Result)
	if !ok {
		return
	}
	for _, n := range t.Notes {
		level := slog.LevelDebug
		if n.Lossy {
			level = slog.LevelWarn
		}
		o.log.Log(context.Background(), level, "translated object differs", "object", n.Object, "field", n.Field, "note", n.Message)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.foreign[foreignKey{o.rank, namespace, name}] = t
	o.stale()
}

// remove implements outlet.
func (o foreignOutlet) remove(namespace, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.foreign, foreignKey{o.rank, namespace, name})
	o.stale()
}

// hasNode says whether there is a node of the name.
func (l *layers) hasNode(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[name] != nil
}

// derive brings what follows from other objects up to date and delivers what
// has changed of it.
func (l *layers) derive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.translated()
	settings := l.settings
	if t, ok := now[model.Ref{Kind: model.KindTierwall, Name: v1alpha1.TierwallName}].(*v1alpha1.Tierwall); ok && settings == nil {
		settings = t
	}
	if settings != nil && settings.Spec.AutoHostEndpoints {
		for _, n := range l.nodes {
			h := source.AutoHostEndpoint(n)
			r := model.Ref{Kind: model.KindHostEndpoint, Name: h.Name}
			if _, there := now[r]; !there {
				now[r] = h
			}
		}
	}
	var upserts []runtime.Object
	var deletes []model.Ref
	for _, r := range slices.SortedFunc(maps.Keys(now), model.Ref.Compare) {
		if needsServices(now[r]) && !l.services.known {
			l.wantServices()
			if now[r] = l.derived[r]; now[r] == nil {
				delete(now, r)
				continue
			}
		}
		if before := l.derived[r]; before != nil && apiequality.Semantic.DeepEqual(before, now[r]) {
			now[r] = before
			continue
		}
		if _, own := l.own[r]; !own {
			upserts = append(upserts, now[r])
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(l.derived), model.Ref.Compare) {
		_, own := l.own[r]
		if now[r] == nil && !own {
			deletes = append(deletes, r)
		}
	}
	l.derived = now
	if len(upserts)+len(deletes) > 0 {
		l.to.Update(upserts, deletes)
	}
}

// translated returns what all foreign objects together stand for.
func (l *layers) translated() map[model.Ref]runtime.Object {
	now := map[model.Ref]runtime.Object{}
	if len(l.foreign) == 0 {
		return now
	}
	var all []runtime.Object
	for _, key := range slices.SortedFunc(maps.Keys(l.foreign), foreignKey.compare) {
		for _, o := range l.foreign[key].Objects {
			all = append(all, o.DeepCopyObject()) // they change where they meet others
		}
	}
	kept, _ := source.ReconcileForeign(all)
	for _, o := range kept {
		r, known := convert.RefOf(o)
		if !known {
			continue
		}
		if _, twice := now[r]; !twice {
			now[r] = o
		}
	}
	return now
}
