package manifests

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
)

// Object is a typed object and where it comes from.
type Object struct {
	runtime.Object
	// Ref names the object. Kinds that the core has no name for (workloads such
	// as Deployment) have their kind as it is.
	Ref model.Ref
	// File as it was named or found, "stdin" for standard input, empty for an
	// object of a live cluster. An object that Complete has added has the place
	// of the object that it was made from, if there is one.
	File string
	// Line and Column of the object in the file, from 1; 0 if unknown.
	Line, Column int
	// Added says that Complete made the object; no file and no cluster holds it.
	Added bool

	translated bool     // from an object of projectcalico.org
	asked      bool     // a workload of a live cluster whose pods are asked about, or its stand-in
	outline    *outline // of the object's mapping; nil if it is not from a file
}

// LineOf returns the line of a field in the object's file, or of the nearest
// enclosing field that is there. The path is as in an Error: names with dots,
// list indices and map keys in brackets, as in spec.ingress[2].source.nets[0].
// It returns 0 for objects that are in no file.
func (o *Object) LineOf(fieldPath string) int {
	if o.outline == nil {
		return o.Line
	}
	if line := o.outline.lineOf(fieldPath); line > 0 {
		return line
	}
	return o.Line
}

// PositionOf is LineOf with the column, which is 0 if it is unknown.
func (o *Object) PositionOf(fieldPath string) (line, column int) {
	if o.outline != nil {
		if at := o.outline.find(fieldPath); at.line > 0 {
			return int(at.line), int(at.column)
		}
	}
	return o.Line, o.Column
}

// Place is "file:line" of the object, for people; it says so if the object is
// from a live cluster or made by Complete.
func (o *Object) Place() string {
	switch {
	case o.File == "" && o.Added:
		return "added"
	case o.File == "":
		return "live cluster"
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Result is what was read.
type Result struct {
	// Objects in the order of files, documents and list items; live objects by
	// kind, namespace and name.
	Objects []Object
	// Tests are the PolicyTests among the documents.
	Tests []Test
	// Answers are the DNSAnswers among the documents.
	Answers []Answers
	// Book is what Index has learnt of them; nil: nothing.
	Book *answers.Book
	// Warnings that the user should see, in order.
	Warnings []Warning

	byRef map[model.Ref]int
	// before is what Overlay has put other objects over.
	before *Result
	// checkedAddresses says that Complete has warned of shared addresses.
	checkedAddresses bool
}

// Lookup returns the object of a name.
func (r *Result) Lookup(ref model.Ref) (*Object, bool) {
	i, ok := r.byRef[ref]
	if !ok {
		return nil, false
	}
	return &r.Objects[i], true
}

// All returns the objects themselves, in the order of Objects.
func (r *Result) All() []runtime.Object {
	out := make([]runtime.Object, len(r.Objects))
	for i := range r.Objects {
		out[i] = r.Objects[i].Object
	}
	return out
}

// add appends an object; of the same name there must be none.
func (r *Result) add(o Object) {
	if r.byRef == nil {
		r.byRef = map[model.Ref]int{}
	}
	r.byRef[o.Ref] = len(r.Objects)
	r.Objects = append(r.Objects, o)
}

// Overlay puts the objects of another result over this one's: an object of the
// same name is replaced, others are added. It answers "what if these files were
// applied to that cluster". Complete the outcome, not the parts: what Complete
// has made for one part must not hide what the other has.
func (r *Result) Overlay(with *Result) {
	if len(r.Objects) > 0 && r.before == nil {
		r.before = &Result{Objects: slices.Clone(r.Objects), byRef: maps.Clone(r.byRef)}
	}
	for _, o := range with.Objects {
		if !r.settle(&o) {
			continue
		}
		if i, ok := r.byRef[o.Ref]; ok {
			r.Objects[i] = keepStatus(o, r.Objects[i].Object)
			continue
		}
		r.add(o)
	}
	r.Tests = append(r.Tests, with.Tests...)
	// What names stand for is no part of what is changed.
	r.Answers = append(r.Answers, with.Answers...)
	if r.before != nil {
		r.before.Answers = r.Answers
	}
	r.Warnings = append(r.Warnings, with.Warnings...)
}

// Before returns the objects as they were before Overlay put others over them; nil: it
// has not.
func (r *Result) Before() *Result { return r.before }

// keepStatus gives an object what an API server would keep of the status of the
// object that it replaces, as far as conversion reads it.
func keepStatus(o Object, replaced runtime.Object) Object {
	file, ok := o.Object.(*v1alpha1.Tierwall)
	live, known := replaced.(*v1alpha1.Tierwall)
	if ok && known {
		file = file.DeepCopy()
		file.Status.Guards = cmp.Or(file.Status.Guards, live.Status.Guards)
		file.Status.Budgets = cmp.Or(file.Status.Budgets, live.Status.Budgets)
		file.Status.NamespacedSets = cmp.Or(file.Status.NamespacedSets, live.Status.NamespacedSets)
		o.Object = file
	}
	return o
}

// warnClash adds a warning about an address of an object.
func (r *Result) warnClash(o *Object, field, format string, args ...any) {
	line, column := o.PositionOf(field)
	r.Warnings = append(r.Warnings, Warning{
		File: o.File, Line: line, Column: column, Object: o.Ref.String(), Field: field,
		Message: fmt.Sprintf(format, args...), Code: lint.CodeAddressClash, Severity: lint.Warning,
	})
}
