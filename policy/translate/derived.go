package translate

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SeparateDerived renames translated objects whose names the translation has made up, by
// a suffix or with the namespace in front, where another object has such a name
// already. own is the name of the object that each comes from, by translated object;
// others are the objects that needed no translation. It changes objects in place.
func SeparateDerived(objects []runtime.Object, own map[runtime.Object]string, others []runtime.Object) []Note {
	type id struct {
		kind            schema.GroupKind
		namespace, name string
	}
	idOf := func(o runtime.Object) (id, bool) {
		a, err := meta.Accessor(o)
		if err != nil {
			return id{}, false
		}
		return id{o.GetObjectKind().GroupVersionKind().GroupKind(), a.GetNamespace(), a.GetName()}, true
	}
	taken := map[id]bool{}
	var derived []runtime.Object
	for _, o := range slices.Concat(others, objects) {
		i, ok := idOf(o)
		if from := own[o]; ok && from != "" && i.name != from && strings.Contains(i.name, from) {
			derived = append(derived, o)
			continue
		}
		taken[i] = true
	}
	var notes []Note
	for _, o := range derived {
		i, _ := idOf(o)
		name := i.name
		for n := 2; taken[i]; n++ {
			i.name = fmt.Sprintf("%s-%d", name, n)
		}
		taken[i] = true
		if i.name == name {
			continue
		}
		if a, err := meta.Accessor(o); err == nil {
			a.SetName(i.name)
			notes = append(notes, Note{Object: policyID{i.kind.Kind, i.namespace, name}.String(), Field: "metadata.name",
				Message: "another object has the name derived from " + own[o] + ": this one is called " + i.name})
		}
	}
	return notes
}
