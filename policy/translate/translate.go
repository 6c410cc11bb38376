package translate

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Result is what became of one foreign object.
type Result struct {
	// Objects are Tierwall objects with their TypeMeta set, in the order in
	// which they are best read. None for an object that needs no equivalent.
	Objects []runtime.Object
	// Notes in the order of the object's fields.
	Notes []Note
}

// Lossy reports whether any note tells of a difference in what is enforced.
func (r Result) Lossy() bool {
	for _, n := range r.Notes {
		if n.Lossy {
			return true
		}
	}
	return false
}

// Note says what of a foreign object has no exact equivalent.
type Note struct {
	// Object is the foreign object: Kind/name, Kind/namespace/name, or
	// Kind.group/… for kinds whose name Tierwall uses too.
	Object string
	// Field is the path within the foreign object, as in
	// spec.ingress[2].source.domains; empty for the object as a whole.
	Field string
	// Message says what has no equivalent and what follows.
	Message string
	// Lossy notes tell of something that the translation enforces differently
	// or not at all; others only explain.
	Lossy bool
	// FailsClosed notes are Lossy, and tell of a rule that allows or logs nothing, or
	// denies without regard to some of its criteria.
	FailsClosed bool
	// Spelling notes tell how the translated object spells what means the same: they
	// are for readers of that object, not of what it evaluates to.
	Spelling bool
}

// String is "object: field: message".
func (n Note) String() string {
	if n.Field == "" {
		return n.Object + ": " + n.Message
	}
	return n.Object + ": " + n.Field + ": " + n.Message
}

// foreign is a decoded object that can be translated.
type foreign interface {
	translate(*translation) error
	meta() (*metav1.TypeMeta, *metav1.ObjectMeta)
}

// translators make a fresh struct of each kind that is translated.
var translators = map[schema.GroupVersion]map[string]func() foreign{
	{Group: calicoGroup, Version: "v3"}:                      calicoKinds,
	{Group: calicoCRDGroup, Version: "v1"}:                   calicoKinds,
	{Group: "policy.networking.k8s.io", Version: "v1alpha1"}: adminKinds,
	{Group: "cilium.io", Version: "v2"}:                      ciliumKinds,
	{Group: "cilium.io", Version: "v2alpha1"}:                ciliumKinds,
}

// Kinds lists the kinds that New knows, sorted.
func Kinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for gv, kinds := range translators {
		for kind := range kinds {
			out = append(out, gv.WithKind(kind))
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// New returns a fresh struct for the kind, to be decoded from JSON, or nil if
// the kind is not one that this package translates. The struct knows all the
// fields of the kind, so a strict decoder finds misspelt ones.
func New(gvk schema.GroupVersionKind) any {
	fresh := translators[gvk.GroupVersion()][gvk.Kind]
	if fresh == nil {
		return nil
	}
	f := fresh()
	t, _ := f.meta()
	t.APIVersion, t.Kind = gvk.ToAPIVersionAndKind()
	return f
}

// Translate turns a struct that New returned and that was decoded since into
// Tierwall objects. It does not keep or change obj. An error says that the
// object itself is invalid where that keeps it from being understood at all, or
// that obj is not of this package; invalid rules and selectors are passed on as
// they are, for the checks that all policies undergo.
func Translate(obj any) (Result, error) {
	f, ok := obj.(foreign)
	if !ok || reflect.ValueOf(obj).IsNil() {
		return Result{}, fmt.Errorf("%T: not a kind that can be translated", obj)
	}
	tm, om := f.meta()
	t := &translation{object: objectName(tm, om)}
	if err := f.translate(t); err != nil {
		return Result{}, fmt.Errorf("%s: %w", t.object, err)
	}
	return t.Result, nil
}

// objectName names a foreign object for notes and errors.
func objectName(tm *metav1.TypeMeta, om *metav1.ObjectMeta) string {
	gvk := tm.GroupVersionKind()
	s := gvk.Kind
	switch gvk.Group {
	case "projectcalico.org", "crd.projectcalico.org":
		s += "." + gvk.Group
	}
	if om.Namespace != "" {
		s += "/" + om.Namespace
	}
	return s + "/" + om.Name
}

// translation collects the result of one object.
type translation struct {
	Result
	object string
}

// add appends an object to the result.
func (t *translation) add(o runtime.Object) { t.Objects = append(t.Objects, o) }

// explain adds a note that tells of no difference in what is enforced.
func (t *translation) explain(field, format string, args ...any) {
	t.Notes = append(t.Notes, Note{Object: t.object, Field: field, Message: fmt.Sprintf(format, args...)})
}

// spell adds a note for readers of the translated object.
func (t *translation) spell(field, format string, args ...any) {
	t.explain(field, format, args...)
	t.Notes[len(t.Notes)-1].Spelling = true
}

// lose adds a note about something that is enforced differently or not at all.
func (t *translation) lose(field, format string, args ...any) {
	t.explain(field, format, args...)
	t.Notes[len(t.Notes)-1].Lossy = true
}
