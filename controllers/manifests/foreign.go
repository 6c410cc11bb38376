package manifests

import (
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// translated reports whether objects of a foreign kind are read as what they
// translate to. Others are for `tierwall convert` only.
func translated(gvk schema.GroupVersionKind) bool {
	return gvk.Group == calicoGroup || gvk.Group == calicoCRDGroup
}

// foreignObject is a translated object and the document that it comes from.
type foreignObject struct {
	o    runtime.Object
	file *file
	node *yaml.Node
}

// translate adds what a foreign object stands for.
func (l *loader) translate(f *file, n *yaml.Node, o any, name string) {
	res, err := translate.Translate(o)
	if err != nil {
		l.errs.add(untranslatable(f, n, name, err))
		return
	}
	for _, note := range res.Notes {
		if note.Spelling {
			continue
		}
		l.res.Warnings = append(l.res.Warnings, Warning{
			File: f.name, Line: lineOf(n, note.Field), Column: columnOf(n, note.Field), Object: note.Object, Field: note.Field, Message: note.Message,
			Code: codeOf(note), Severity: severityOf(note),
		})
	}
	for _, t := range res.Objects {
		l.foreign = append(l.foreign, foreignObject{t, f, n})
	}
}

// reconcile adds the translated objects of all files.
func (l *loader) reconcile() {
	objects := make([]runtime.Object, 0, len(l.foreign))
	for _, o := range l.foreign {
		if k, m, err := describeObject(o.o); err == nil && k.Namespaced && m.GetNamespace() == "" {
			m.SetNamespace(DefaultNamespace)
		}
		objects = append(objects, o.o)
	}
	names := map[runtime.Object]string{}
	for _, o := range l.foreign {
		names[o.o] = text(value(o.node, "metadata"), "name")
	}
	translate.SeparateDerived(objects, names, l.res.All())
	// What has one name and one tier is defined twice, which add reports.
	objects = qualify(translate.Merge(objects), l.res.policyTier)
	origin := make(map[runtime.Object]foreignObject, len(l.foreign))
	for _, o := range l.foreign {
		origin[o.o] = o
	}
	for _, o := range objects {
		from, ok := origin[o]
		if !ok {
			continue
		}
		// Settings are spread over several foreign objects; those that people
		// have written for Tierwall count instead of them, not against them.
		if t, ok := o.(*v1alpha1.Tierwall); ok {
			if written, ok := l.res.Lookup(model.Ref{Kind: model.KindTierwall, Name: t.Name}); ok {
				l.res.Warnings = append(l.res.Warnings, Warning{File: from.file.name, Line: from.node.Line, Column: from.node.Column, Code: lint.CodeReplaced, Severity: lint.Info,
					Message: "the settings are ignored, because " + written.Ref.String() + " exists (" + written.Place() + ")"})
				continue
			}
		}
		if l.add(o, from.file, from.node) {
			l.res.Objects[len(l.res.Objects)-1].translated = true
		}
	}
}

// codeOf and severityOf say what a note is as a finding.
func codeOf(n translate.Note) string {
	if n.Lossy {
		return lint.CodeUntranslated
	}
	return lint.CodeTranslated
}

func severityOf(n translate.Note) lint.Severity {
	switch {
	case n.FailsClosed:
		return lint.Error
	case n.Lossy:
		return lint.Warning
	}
	return lint.Info
}
