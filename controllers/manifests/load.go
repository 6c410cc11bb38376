package manifests

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// DefaultNamespace is the namespace of namespaced objects that name none.
const DefaultNamespace = "default"

// Options of Load. The zero Options are usable.
type Options struct {
	// Stdin is what the path "-" reads; nil: such a path is an error.
	Stdin io.Reader
	// Memory of earlier Loads; nil: all is read.
	Memory *Memory
}

// Load reads all objects of files, folders and standard input ("-").
//
// Everything is read before it returns: the error joins an *Error for each
// thing that is wrong, up to a cap. With an error the Result is nil.
func Load(paths []string, opts Options) (*Result, error) {
	l := &loader{res: &Result{}, memory: opts.Memory}
	l.paths(paths, opts)
	return l.finish()
}

// LoadAll is Load, but returns what could be read along with what could not. dropped
// counts the errors beyond the cap.
func LoadAll(paths []string, opts Options) (r *Result, errs []*Error, dropped int) {
	l := &loader{res: &Result{}}
	l.paths(paths, opts)
	_, _ = l.finish() // joins the same errors
	return l.res, l.errs.errs, l.errs.dropped
}

// paths reads all files.
func (l *loader) paths(paths []string, opts Options) {
	if len(paths) == 0 {
		l.errs.add(&Error{Message: "no file is named", Unread: true})
	}
	for _, f := range findFiles(paths, &l.errs) {
		file, err := readFile(f, opts)
		if err != nil {
			l.errs.add(err)
			continue
		}
		l.file(file)
	}
}

// LoadBytes is Load for one file that is in memory. The name is for messages.
func LoadBytes(name string, data []byte) (*Result, error) {
	l := &loader{res: &Result{}}
	file, err := readAll(name, true, strings.NewReader(string(data)))
	if err != nil {
		l.errs.add(err)
	} else {
		l.file(file)
	}
	return l.finish()
}

// loader turns documents into objects.
type loader struct {
	res     *Result
	errs    errorList
	unknown []*unknownKind
	// testsOnly leaves everything but PolicyTests alone.
	testsOnly bool
	// manifests collects for ReadManifests; nil otherwise.
	manifests *[]Manifest
	// doc is the document at hand, and end the line of it behind the object at hand; 0: the
	// document's last line is the object's.
	doc *document
	end int
	// memory of earlier loaders, and what is being read; nil for none.
	memory  *Memory
	reading documentKey
	// foreign are translated objects, which are added last: some of them only
	// find their form among the others.
	foreign []foreignObject
	// generated counts the objects of each generateName, by objectName.
	generated map[string]int
	// generatedNames are the names that come of them, by metadata, for ReadManifests.
	generatedNames map[*yaml.Node]*yaml.Node
}

// unknownKind counts objects that are skipped.
type unknownKind struct {
	gvk   schema.GroupVersionKind
	count int
	file  string
	line  int
	// column of the first object.
	column int
}

func (l *loader) finish() (*Result, error) {
	l.reconcile()
	for _, u := range l.unknown {
		objects := "objects"
		if u.count == 1 {
			objects = "object"
		}
		hint := foreignKinds[u.gvk.GroupKind()]
		if hint != "" {
			hint = "; " + hint
		}
		severity := lint.Info
		if speaksOfPolicy(u.gvk) {
			severity = lint.Warning
		}
		l.res.Warnings = append(l.res.Warnings, Warning{File: u.file, Line: u.line, Column: u.column, Code: lint.CodeSkipped, Severity: severity,
			Message: fmt.Sprintf("%d %s of unknown kind %s (%s) skipped%s", u.count, objects, oneLine(u.gvk.Kind), oneLine(u.gvk.GroupVersion().String()), hint)})
	}
	if err := l.errs.join(); err != nil {
		return nil, err
	}
	return l.res, nil
}

// file reads all documents of a file.
func (l *loader) file(f *file) {
	before, tests := len(l.errs.errs), len(l.res.Tests)
	docs, beside := 0, 0
	known := func(c chunk) bool {
		ok := l.recall(f, c)
		if ok {
			docs++
			beside++
		}
		return ok
	}
	parse(f, &l.errs, known, func(d *document) {
		docs++
		for _, o := range objectsIn(d.root) {
			if text(o, "kind") != policyTestGVK.Kind {
				beside++
			}
		}
		l.doc, l.end = d, 0
		l.remember(f, d.root)
	})
	if docs == 0 && len(l.errs.errs) == before && f.named {
		l.errs.add(&Error{File: f.name, Message: "holds no objects"})
	}
	for i := range l.res.Tests[tests:] {
		l.res.Tests[tests+i].beside = beside
	}
	slices.SortStableFunc(l.errs.errs[before:], func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
}

// document reads one document: an object or a list of objects.
func (l *loader) document(f *file, n *yaml.Node) {
	if objectList(n) {
		l.list(f, n, n, "", "", 0)
		return
	}
	apiVersion, kind := text(n, "apiVersion"), text(n, "kind")
	switch {
	case l.testsOnly && !meantAsTest(n, apiVersion, kind) && !strings.HasSuffix(kind, "List"):
	case n.Kind != yaml.MappingNode || apiVersion == "" && kind == "" || kind == "" && !f.named && value(n, "metadata") == nil:
		// A folder may hold a chart's values, its Chart.yaml (which has an
		// apiVersion) and the like; a file that the user has named should be what
		// the user thinks it is.
		message := "not a Kubernetes object: no apiVersion and no kind"
		if apiVersion != "" {
			message = "not a Kubernetes object: no kind and no metadata"
		}
		if f.named {
			l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Message: message})
			return
		}
		l.res.Warnings = append(l.res.Warnings, Warning{File: f.name, Line: n.Line, Column: n.Column, Code: lint.CodeSkipped, Severity: lint.Info, Message: message + "; skipped"})
	default:
		l.typed(f, n, apiVersion, kind, 0)
	}
}

// typed reads an object or list of a known apiVersion and kind.
func (l *loader) typed(f *file, n *yaml.Node, apiVersion, kind string, depth int) {
	switch {
	case l.testsOnly && !meantAsTest(n, apiVersion, kind) && !strings.HasSuffix(kind, "List"):
		return
	case apiVersion == "":
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Object: objectName(n, kind, false), Field: "apiVersion", Message: "is missing"})
		return
	case kind == "":
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Field: "kind", Message: "is missing"})
		return
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		l.errs.add(&Error{File: f.name, Line: lineOf(n, "apiVersion"), Column: columnOf(n, "apiVersion"), Object: objectName(n, kind, false), Field: "apiVersion",
			Message: quote(apiVersion) + " is not group/version"})
		return
	}
	if items := value(n, "items"); strings.HasSuffix(kind, "List") && (items != nil || kind == "List") {
		l.list(f, n, items, apiVersion, strings.TrimSuffix(kind, "List"), depth)
		return
	}
	if !l.testsOnly || meantAsTest(n, apiVersion, kind) {
		l.object(f, n, gv.WithKind(kind))
	}
}

// object reads one object.
func (l *loader) object(f *file, n *yaml.Node, gvk schema.GroupVersionKind) {
	l.generateName(n, gvk)
	if l.manifests != nil {
		if !l.manifest(f, n, gvk) {
			l.skip(f, n, gvk)
		}
		return
	}
	if k, ok := kindByGVK[gvk]; ok {
		o := k.New()
		if l.decode(f, n, o, objectName(n, string(k.Ref), k.Namespaced), k.strict) {
			o.GetObjectKind().SetGroupVersionKind(gvk)
			l.add(o, f, n)
		}
		return
	}
	switch gvk {
	case policyTestGVK:
		l.test(f, n)
		return
	case dnsAnswersGVK:
		l.dnsAnswers(f, n)
		return
	}
	if translated(gvk) {
		if o := translate.New(gvk); o != nil {
			name := objectName(n, gvk.Kind+"."+gvk.Group, false)
			if l.decode(f, n, o, name, true) {
				l.translate(f, n, o, name)
			}
			return
		}
	}
	l.skip(f, n, gvk)
}

// skip leaves out an object of an unknown kind, unless the kind is surely a slip.
func (l *loader) skip(f *file, n *yaml.Node, gvk schema.GroupVersionKind) {
	if field, message := slip(gvk); message != "" {
		l.errs.add(&Error{File: f.name, Line: lineOf(n, field), Column: columnOf(n, field), Object: objectName(n, gvk.Kind, false), Field: field, Message: message})
		return
	}
	for _, u := range l.unknown {
		if u.gvk == gvk {
			u.count++
			return
		}
	}
	l.unknown = append(l.unknown, &unknownKind{gvk: gvk, count: 1, file: f.name, line: n.Line, column: n.Column})
}

// decode checks a tree against the type of o and decodes it. It returns false
// if it has reported an error.
func (l *loader) decode(f *file, n *yaml.Node, o any, name string, strict bool) bool {
	if !l.check(f, n, o, name, strict) {
		return false
	}
	b, err := toJSON(n)
	if err == nil {
		err = json.UnmarshalCaseSensitivePreserveInts(b, o)
	}
	if err != nil {
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Object: name, Message: err.Error()})
	}
	return err == nil
}

// check checks a tree against the type of o. It returns false if it has reported an error.
func (l *loader) check(f *file, n *yaml.Node, o any, name string, strict bool) bool {
	ok := true
	fail := func(at *yaml.Node, path, message string) {
		ok = false
		l.errs.add(&Error{File: f.name, Line: at.Line, Column: at.Column, Object: name, Field: path, Message: message})
	}
	c := checker{forget: l.manifests == nil, bad: fail, unknown: func(at *yaml.Node, path, message string) {
		// Exports hold the status of kinds that had one once. It says nothing.
		if path != "status" {
			fail(at, path, message)
		}
	}}
	if !strict {
		c.unknown = func(at *yaml.Node, path, message string) {
			l.res.Warnings = append(l.res.Warnings, Warning{File: f.name, Line: at.Line, Column: at.Column, Object: name, Field: path, Message: message,
				Code: lint.CodeUnknownField, Severity: lint.Warning})
		}
	}
	c.check(n, reflect.TypeOf(o))
	if meta := value(n, "metadata"); ok && text(meta, "name") == "" {
		fail(n, "metadata.name", "is missing")
	}
	return ok
}

// add puts a decoded object into the result, unless there is one of its name. It
// returns false if it has reported an error.
func (l *loader) add(o runtime.Object, f *file, n *yaml.Node) bool {
	k, m, err := describeObject(o)
	if err != nil {
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Message: err.Error()})
		return false
	}
	if k.Namespaced && m.GetNamespace() == "" {
		m.SetNamespace(DefaultNamespace)
	}
	ref := k.refOf(o, m)
	// Other bad names are the converter's to report. These would be printed
	// wherever the object is spoken of, and could pass for lines of output.
	if field := unprintableName(ref); field != "" {
		l.errs.add(&Error{File: f.name, Line: lineOf(n, field), Column: columnOf(n, field), Object: ref.String(), Field: field, Message: mustBePrintable})
		return false
	}
	if first, ok := l.res.Lookup(ref); ok {
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Object: ref.String(), Message: "defined twice; first at " + first.Place()})
		return false
	}
	l.res.add(Object{Object: o, Ref: ref, File: f.name, Line: n.Line, Column: n.Column, outline: outlineOf(n)})
	return true
}

// unprintableName is the field of a name that cannot be printed as it is; "" if
// there is none.
func unprintableName(r model.Ref) string {
	switch {
	case !isPrintable(r.Name):
		return "metadata.name"
	case !isPrintable(r.Namespace):
		return "metadata.namespace"
	}
	return ""
}

// describeObject finds the kind and metadata of a typed object.
func describeObject(o runtime.Object) (*kind, metaObject, error) {
	gvk := o.GetObjectKind().GroupVersionKind()
	if _, isPolicy := convert.PolicyTier(o); isPolicy {
		gvk = v1alpha1.GroupVersion.WithKind(gvk.Kind) // also of one that is qualified
	}
	k, ok := kindByGVK[gvk]
	if !ok {
		return nil, nil, fmt.Errorf("unexpected kind %s", o.GetObjectKind().GroupVersionKind())
	}
	m, err := meta.Accessor(o)
	return k, m, err
}

// refOf names an object of the kind. The core has no name for workloads.
func (k *kind) refOf(o runtime.Object, m metaObject) model.Ref {
	if r, known := convert.RefOf(o); known {
		return r
	}
	r := model.Ref{Kind: k.Ref, Name: m.GetName()}
	if k.Namespaced {
		r.Namespace = m.GetNamespace()
	}
	return r
}

// metaObject is the part of metadata that is needed here.
type metaObject interface {
	GetName() string
	GetNamespace() string
	SetNamespace(string)
}
