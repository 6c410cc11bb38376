package cluster

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// layers put together what the cluster holds and what follows from it: Calico's
// objects, translated, and the automatic host endpoints. Of several objects of
// one name the cluster's own counts, then the translated one, then the
// automatic one. Policies are of one name only if they are in one tier
// (source.Identify).
type layers struct {
	to  agent.Sink
	log *slog.Logger
	// stale is called when derive has something to do. It does not block.
	stale func()

	mu sync.Mutex
	// own are the cluster's objects of the kinds that can be derived too, each with
	// the tier of a policy.
	own map[model.Ref]string
	// derived is what has been derived and delivered: no object of the cluster's own
	// stands in its place.
	derived map[model.Ref]runtime.Object
	// contested are the names of derived objects, delivered or not, without tiers.
	contested map[model.Ref]struct{}
	// replaced are the translated policies that Tierwall policies replace.
	replaced map[manifests.Replaced]struct{}
	// foreign are translated objects, by where they are from.
	foreign map[foreignKey]translate.Result
	nodes   map[string]*corev1.Node
	// settings is Tierwall/default, if it is there.
	settings *v1alpha1.Tierwall
	// services: whether EndpointSlices are read, and what waits for them.
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
		to: to, log: log, stale: stale, own: map[model.Ref]string{}, derived: map[model.Ref]runtime.Object{},
		foreign: map[foreignKey]translate.Result{}, nodes: map[string]*corev1.Node{},
		services: services{waiting: map[model.Ref]runtime.Object{}},
	}
}

// derivable reports whether objects of a kind can be derived.
func derivable(k *kind) bool {
	return k.ours
}

// ownLayer takes the cluster's own objects of a kind.
type ownLayer struct {
	*layers
	kind *kind
}

func (o ownLayer) ref(namespace, name string) model.Ref {
	return model.Ref{Kind: o.kind.ref, Namespace: namespace, Name: name}
}

// upsert implements layer.
func (o ownLayer) upsert(namespace, name string, made any) {
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
		o.own[r], _ = convert.PolicyTier(obj)
		if o.mustWait(r, obj) {
			return
		}
		if _, contested := o.contested[r]; contested {
			o.rederive([]runtime.Object{obj}, nil)
			return
		}
	}
	o.to.Update([]runtime.Object{obj}, nil)
}

// remove implements layer.
func (o ownLayer) remove(namespace, name string) {
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
	if _, contested := o.contested[r]; contested {
		o.rederive(nil, []model.Ref{r})
		return
	}
	o.to.Update(nil, []model.Ref{r})
}

// foreignLayer takes foreign objects of a kind.
type foreignLayer struct {
	*layers
	kind *kind
	rank int
}

// upsert implements layer.
func (o foreignLayer) upsert(namespace, name string, made any) {
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

// remove implements layer.
func (o foreignLayer) remove(namespace, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.foreign, foreignKey{o.rank, namespace, name})
	o.stale()
}

// hasNode reports whether there is a node of the name.
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
	l.rederive(nil, nil)
}

// rederive is derive together with changes of the cluster's own objects, so that one
// transaction holds both: what such an object replaces, and what takes another name
// or comes back because of it. The lock is held.
func (l *layers) rederive(upserts []runtime.Object, deletes []model.Ref) {
	now := l.uncovered()
	for _, r := range slices.SortedFunc(maps.Keys(now), model.Ref.Compare) {
		before := l.before(r, now[r])
		if needsServices(now[r]) && !l.services.known {
			l.wantServices()
			if before == nil {
				delete(now, r)
				continue
			}
			now[r] = before
		}
		if before == l.derived[r] && before != nil && apiequality.Semantic.DeepEqual(before, now[r]) {
			now[r] = before
			continue
		}
		upserts = append(upserts, now[r])
	}
	for _, r := range slices.SortedFunc(maps.Keys(l.derived), model.Ref.Compare) {
		if _, own := l.own[r]; now[r] == nil && !own {
			deletes = append(deletes, r)
		}
	}
	// What an object of the cluster's own has covered comes back in its place.
	deletes = slices.DeleteFunc(deletes, func(r model.Ref) bool { return now[r] != nil })
	l.derived = now
	l.deliver(upserts, deletes)
}

// deliver passes changes on to the agent: in one call what is about one name, for that is what
// takes another name or another's place, and the rest of a tenant's in calls of its
// own, so that others' changes need not wait for all of it. The lock is held.
func (l *layers) deliver(upserts []runtime.Object, deletes []model.Ref) {
	type call struct {
		upserts []runtime.Object
		deletes []model.Ref
	}
	type name struct{ namespace, name string }
	calls := map[name]*call{}
	var order []*call
	of := func(r model.Ref) *call {
		_, bare, qualified := strings.Cut(r.Name, ":") // see model.TierName
		if !qualified {
			bare = r.Name
		}
		n := name{r.Namespace, bare}
		if calls[n] == nil {
			calls[n] = &call{}
			order = append(order, calls[n])
		}
		return calls[n]
	}
	for _, o := range upserts {
		if r, known := convert.RefOf(o); known {
			c := of(r)
			c.upserts = append(c.upserts, o)
		}
	}
	for _, r := range deletes {
		c := of(r)
		c.deletes = append(c.deletes, r)
	}
	for _, c := range order {
		l.to.Update(c.upserts, c.deletes)
	}
}

// before is the version of a derived object that has been delivered, under the name
// that it has now. The lock is held.
func (l *layers) before(r model.Ref, o runtime.Object) runtime.Object {
	if before := l.derived[r]; before != nil {
		return before
	}
	tier, isPolicy := convert.PolicyTier(o)
	if !isPolicy {
		return nil
	}
	for _, qualified := range []bool{false, true} {
		other, _ := convert.RefOf(manifests.Renamed(o, qualified))
		before := l.derived[other]
		if t, there := convert.PolicyTier(before); other != r && there && t == tier {
			return manifests.Renamed(before, !qualified)
		}
	}
	return nil
}

// uncovered returns what is derived and not covered by an object of the cluster's
// own. The lock is held.
func (l *layers) uncovered() map[model.Ref]runtime.Object {
	now := l.translated()
	settings := l.settings
	if t, ok := now[model.Ref{Kind: model.KindTierwall, Name: v1alpha1.TierwallName}].(*v1alpha1.Tierwall); ok && settings == nil {
		settings = t
	}
	if settings != nil && settings.Spec.AutoHostEndpoints {
		for _, n := range l.nodes {
			h := manifests.AutoHostEndpoint(n)
			r := model.Ref{Kind: model.KindHostEndpoint, Name: h.Name}
			l.contested[r] = struct{}{}
			if _, there := now[r]; !there {
				now[r] = h
			}
		}
	}
	for r := range now {
		if _, own := l.own[r]; own {
			delete(now, r)
		}
	}
	return now
}

// translated returns what all foreign objects together stand for, and notes their
// names. The lock is held.
func (l *layers) translated() map[model.Ref]runtime.Object {
	now := map[model.Ref]runtime.Object{}
	l.contested = map[model.Ref]struct{}{}
	var all []runtime.Object
	for _, key := range slices.SortedFunc(maps.Keys(l.foreign), foreignKey.compare) {
		for _, o := range l.foreign[key].Objects {
			if r, known := convert.RefOf(o); known {
				l.contested[r] = struct{}{}
			}
			all = append(all, o.DeepCopyObject()) // they change where they meet others
		}
	}
	kept, replaced := manifests.ReconcileForeign(all, l.ownTier)
	for _, o := range kept {
		r, known := convert.RefOf(o)
		if !known {
			continue
		}
		if _, twice := now[r]; !twice {
			now[r] = o
		}
	}
	l.reportReplaced(replaced)
	return now
}

// ownTier is a source.OwnTier of the cluster's own policies. The lock is held.
func (l *layers) ownTier(r model.Ref) (string, bool) {
	tier, there := l.own[r]
	return tier, there
}

// reportReplaced logs the translated policies that Tierwall policies replace, each
// once. The lock is held.
func (l *layers) reportReplaced(now []manifests.Replaced) {
	before := l.replaced
	l.replaced = make(map[manifests.Replaced]struct{}, len(now))
	for _, r := range now {
		l.replaced[r] = struct{}{}
		if _, known := before[r]; !known {
			l.log.Warn("policy replaced: a Tierwall policy has the same name and tier", "policy", r.Policy.String(), "by", r.By.String())
		}
	}
}
