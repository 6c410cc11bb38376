package manifests

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// Manifest is one object of the input, and what it is in Tierwall's terms.
type Manifest struct {
	// Name of the object, for people.
	Name string
	// File, Line and Column where it stands.
	File         string
	Line, Column int
	// Text of an object that needs no translation, in YAML that ends with a newline: as
	// it is written, comments included, where it is written in YAML; empty for a foreign
	// object.
	Text string
	// Objects that a foreign object becomes; none if it has no equivalent, or
	// if another manifest's object says the same.
	Objects []runtime.Object
	// Notes on what of a foreign object has no equivalent.
	Notes []translate.Note

	own string // the name in the metadata of a foreign object

	// kind of an object that needs no translation, with its namespace and name; nil for a
	// PolicyTest and a foreign object.
	kind            *kind
	namespace, name string
	// written is an object of Tierwall that needs no translation; nil for others.
	written runtime.Object
}

// Manifests is what ReadManifests has read.
type Manifests struct {
	// Items in the order of the input.
	Items []Manifest
	// Warnings that the user should see, in order.
	Warnings []Warning
	// Skipped are the unknown kinds of which objects were left out, each once.
	// The Warnings name them too.
	Skipped []schema.GroupVersionKind
}

// ReadManifests reads all objects like Load, but translates every foreign kind that
// package translate knows, and leaves all others as they are written. Objects of
// unknown kinds are left out. The error is as of Load.
func ReadManifests(paths []string, opts Options) (*Manifests, error) {
	l := &loader{res: &Result{}, manifests: &[]Manifest{}}
	l.paths(paths, opts)
	l.reconcileManifests()
	l.manifestsOnce()
	r, err := l.finish()
	if err != nil {
		return nil, err
	}
	out := &Manifests{Items: *l.manifests, Warnings: r.Warnings}
	for _, u := range l.unknown {
		out.Skipped = append(out.Skipped, u.gvk)
	}
	return out, nil
}

// manifest reads one object for ReadManifests. It returns false for unknown kinds.
func (l *loader) manifest(f *file, n *yaml.Node, gvk schema.GroupVersionKind) bool {
	m := Manifest{File: f.name, Line: n.Line, Column: n.Column}
	if o := translate.New(gvk); o != nil {
		kind := gvk.Kind
		if gvk.Group == calicoGroup || gvk.Group == calicoCRDGroup {
			kind += "." + gvk.Group
		}
		m.Name = objectName(n, kind, false)
		if !l.decode(f, n, o, m.Name, true) {
			return true
		}
		r, err := translate.Translate(o)
		if err != nil {
			l.errs.add(untranslatable(f, n, m.Name, err))
			return true
		}
		m.Objects, m.Notes, m.own = r.Objects, r.Notes, text(value(n, "metadata"), "name")
		*l.manifests = append(*l.manifests, m)
		return true
	}
	if gvk == policyTestGVK {
		m.Name = objectName(n, gvk.Kind, false)
		if l.decode(f, n, &v1alpha1.PolicyTest{}, m.Name, true) {
			m.Text = l.textOf(n, gvk)
			*l.manifests = append(*l.manifests, m)
		}
		return true
	}
	if gvk == dnsAnswersGVK {
		m.Name = objectName(n, gvk.Kind, false)
		if l.decode(f, n, &v1alpha1.DNSAnswers{}, m.Name, true) {
			m.Text = l.textOf(n, gvk)
			*l.manifests = append(*l.manifests, m)
		}
		return true
	}
	k, known := kindByGVK[gvk]
	if !known {
		return false
	}
	m.Name = objectName(n, string(k.Ref), k.Namespaced)
	m.kind, m.namespace, m.name = k, text(value(n, "metadata"), "namespace"), text(value(n, "metadata"), "name")
	if gvk.Group == v1alpha1.GroupVersion.Group {
		m.written = k.New()
		if !l.decode(f, n, m.written, m.Name, k.strict) {
			return true
		}
		m.written.GetObjectKind().SetGroupVersionKind(gvk)
	} else if !l.check(f, n, k.New(), m.Name, k.strict) {
		return true
	}
	m.Text = l.textOf(n, gvk)
	*l.manifests = append(*l.manifests, m)
	return true
}

// textOf is the text of an object of the document at hand.
func (l *loader) textOf(n *yaml.Node, gvk schema.GroupVersionKind) string {
	out, ok := l.doc.ownText(n, l.end)
	if !ok {
		if m := value(n, "metadata"); l.isGenerated(n) {
			m.Content = m.Content[:len(m.Content)-2] // the name, which nobody has written
		}
		out = toYAML(n)
	}
	if !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	if value(n, "apiVersion") == nil { // items of a typed list may leave it out
		apiVersion, kind := gvk.ToAPIVersionAndKind()
		out = "apiVersion: " + apiVersion + "\nkind: " + kind + "\n" + out
	}
	return out
}

// Fields are the fields of an object that needs no translation, with whole numbers as
// json.Number; nil for a foreign object.
func (m *Manifest) Fields() (map[string]any, error) {
	if m.Text == "" {
		return nil, nil
	}
	var errs errorList
	d := parseYAML(m.File, chunk{text: []byte(m.Text)}, &errs)
	if err := errs.join(); err != nil {
		return nil, err
	}
	ignore := func(*yaml.Node, string, string) {}
	shape := reflect.TypeFor[v1alpha1.PolicyTest]()
	if m.kind != nil {
		shape = reflect.TypeOf(m.kind.New())
	}
	(&checker{bad: ignore, unknown: ignore}).check(d.root, shape) // reads the booleans of YAML 1.1
	b, err := toJSON(d.root)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber() // large numbers stay exact
	err = decoder.Decode(&fields)
	return fields, err
}

// untranslatable is the error of an object that package translate refuses. Its
// text begins with the object, and mostly goes on with the field.
func untranslatable(f *file, n *yaml.Node, name string, err error) *Error {
	e := &Error{File: f.name, Line: n.Line, Column: n.Column, Object: name, Message: strings.TrimPrefix(err.Error(), name+": ")}
	field, message, ok := strings.Cut(e.Message, ": ")
	if ok && (strings.HasPrefix(field, "spec") || strings.HasPrefix(field, "metadata.")) {
		e.Field, e.Message = field, message
		if line := lineOf(n, field); line > 0 {
			e.Line, e.Column = line, columnOf(n, field)
		}
	}
	return e
}

// reconcileManifests settles what only shows among several translated objects.
// The settings that people have written are left alone: translated ones beside
// them are taken out, and noted.
func (l *loader) reconcileManifests() {
	ms := *l.manifests
	written := false
	var all, own []runtime.Object
	names := map[runtime.Object]string{}
	for i := range ms {
		all = append(all, ms[i].Objects...)
		for _, o := range ms[i].Objects {
			names[o] = ms[i].own
		}
		if ms[i].written != nil {
			own = append(own, ms[i].written)
		}
		written = written || ms[i].Name == string(model.KindTierwall)+"/"+v1alpha1.TierwallName
	}
	renamed := translate.SeparateDerived(all, names, own)
	kept, notes := translate.Reconcile(all, own)
	notes = append(renamed, notes...)
	remains := make(map[runtime.Object]bool, len(kept))
	for _, o := range kept {
		remains[o] = true
	}
	for i := range ms {
		m := &ms[i]
		objects := m.Objects[:0]
		for _, o := range m.Objects {
			if s, ok := o.(*v1alpha1.Tierwall); ok && written {
				text, _ := json.Marshal(s.Spec)
				m.Notes = append(m.Notes, translate.Note{Object: m.Name, Lossy: true,
					Message: "its settings are left out, because Tierwall/" + v1alpha1.TierwallName + " is among the manifests; add these to it: " + string(text)})
				continue
			}
			if remains[o] {
				objects = append(objects, o)
			}
		}
		m.Objects = objects
	}
	for _, n := range notes {
		l.res.Warnings = append(l.res.Warnings, Warning{Object: n.Object, Field: n.Field, Message: n.Message})
	}
}

// manifestsOnce reports objects that would be there twice.
func (l *loader) manifestsOnce() {
	first := map[model.Ref]*Manifest{}
	once := func(m *Manifest, k *kind, namespace, name string) {
		ref := model.Ref{Kind: k.Ref, Name: name}
		if k.Namespaced {
			if ref.Namespace = namespace; namespace == "" {
				ref.Namespace = DefaultNamespace
			}
		}
		if old, ok := first[ref]; ok {
			place := (&Object{File: old.File, Line: old.Line}).Place()
			l.errs.add(&Error{File: m.File, Line: m.Line, Column: m.Column, Object: ref.String(), Message: "defined twice; first at " + place})
			return
		}
		first[ref] = m
	}
	for i := range *l.manifests {
		m := &(*l.manifests)[i]
		for _, o := range m.Objects {
			k, ok := kindByGVK[o.GetObjectKind().GroupVersionKind()]
			if a, err := meta.Accessor(o); ok && err == nil {
				once(m, k, a.GetNamespace(), a.GetName())
			}
		}
		if m.kind != nil {
			once(m, m.kind, m.namespace, m.name)
		}
	}
}
