package flows

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/workload"
)

// labelled finds selectors for the workloads of an index.
type labelled struct {
	pods map[string][]*model.Endpoint // by namespace/Kind/name of their workload
	all  map[string][]*model.Endpoint // by namespace
	memo map[string]selection
}

// selection selects the pods of a workload.
type selection struct {
	// text of the selector; empty: the pods have no labels that would last.
	text string
	// others that it selects too, sorted: no labels tell them apart.
	others []string
	exists bool
}

func newLabelled(ix *index.Index) *labelled {
	l := &labelled{pods: map[string][]*model.Endpoint{}, all: map[string][]*model.Endpoint{}, memo: map[string]selection{}}
	for _, ref := range ix.Endpoints() {
		e, ok := ix.Endpoint(ref)
		if !ok || ref.Kind != model.KindPod {
			continue
		}
		name := workloadOf(e)
		l.pods[name] = append(l.pods[name], e)
		l.all[ref.Namespace] = append(l.all[ref.Namespace], e)
	}
	return l
}

// workloadOf is namespace/Kind/name of a pod's workload, as records have it.
func workloadOf(e *model.Endpoint) string {
	owner := workload.OwnerOf(e.Ref.Namespace, e.Ref.Name, e.Labels)
	return e.Ref.Namespace + "/" + string(owner.Kind) + "/" + owner.Name
}

// fleeting are labels that the pods of a later version do not have, or each has its own.
func fleeting(key string) bool {
	switch key {
	case "pod-template-hash", "controller-revision-hash", "pod-template-generation", "controller-uid", "job-name",
		"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index":
		return true
	}
	return strings.HasPrefix(key, "batch.kubernetes.io/")
}

// preferred are the labels that people select by, the first first.
var preferred = []string{
	"app.kubernetes.io/name", "app", "k8s-app", "app.kubernetes.io/component", "app.kubernetes.io/instance", "component", "name", "role",
}

// of returns the selection of a workload: by one label if one tells its pods from all
// others in the namespace, else by two, else by all.
func (l *labelled) of(name string) selection {
	if s, ok := l.memo[name]; ok {
		return s
	}
	s := l.find(name)
	l.memo[name] = s
	return s
}

func (l *labelled) find(name string) selection {
	pods := l.pods[name]
	if len(pods) == 0 {
		return selection{}
	}
	shared := maps.Clone(pods[0].Labels)
	for _, p := range pods[1:] {
		maps.DeleteFunc(shared, func(k, v string) bool { return p.Labels[k] != v })
	}
	maps.DeleteFunc(shared, func(k, _ string) bool { return fleeting(k) || strings.Contains(k, ":") })
	keys := slices.SortedFunc(maps.Keys(shared), func(a, b string) int {
		rank := func(k string) int {
			if i := slices.Index(preferred, k); i >= 0 {
				return i
			}
			return len(preferred)
		}
		if rank(a) != rank(b) {
			return rank(a) - rank(b)
		}
		return strings.Compare(a, b)
	})
	if len(keys) == 0 {
		return selection{exists: true}
	}
	var candidates [][]string
	for _, k := range keys {
		candidates = append(candidates, []string{k})
	}
	for i, a := range keys {
		for _, b := range keys[i+1:] {
			candidates = append(candidates, []string{a, b})
		}
	}
	candidates = append(candidates, keys)
	var others []string
	for _, c := range candidates {
		if others = l.others(name, pods[0].Ref.Namespace, shared, c); len(others) == 0 {
			return selection{text: selectorOf(shared, c), exists: true}
		}
	}
	return selection{text: selectorOf(shared, keys), others: others, exists: true}
}

// others are the other workloads of a namespace with a pod that has the same labels.
func (l *labelled) others(name, namespace string, values map[string]string, keys []string) []string {
	found := map[string]bool{}
	for _, p := range l.all[namespace] {
		same := !slices.ContainsFunc(keys, func(k string) bool {
			v, ok := p.Labels[k]
			return !ok || v != values[k]
		})
		if w := workloadOf(p); same && w != name {
			found[w] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func selectorOf(values map[string]string, keys []string) string {
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s == '%s'", k, values[k]))
	}
	return strings.Join(parts, " && ")
}
