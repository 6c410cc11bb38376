package source

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
}

// Load reads all objects of files, folders and standard input ("-").
//
// Everything is read before it returns: the error joins an *Error for each
// thing that is wrong, up to a cap. With an error the Result is nil.
func Load(paths []string, opts Options) (*Result, error) {
	l := &loader{res: &Result{}}
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
		l.errs.add(&Error{Message: "no files are named", Unread: true})
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
	// foreign are translated objects, which are added last: some of them only
	// find their form among the others.
	foreign []foreignObject
	// generated counts the objects of each generateName, by objectName.
	generated map[string]int
	// generatedNames are the names that come of them, by metadata, for ReadManifests.
	generatedNames map[*yaml.Node]*yaml.Node
}

// foreignObject is a translated object and the document that it comes from.
type foreignObject struct {
	o    runtime.Object
	file *file
	node *yaml.Node
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
	parse(f, &l.errs, func(n *yaml.Node) {
		docs++
		for _, o := range objectsIn(n) {
			if text(o, "kind") != policyTestGVK.Kind {
				beside++
			}
		}
		l.document(f, n)
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

// objectsIn are the objects of a document: itself, or the items of a list of objects.
func objectsIn(n *yaml.Node) []*yaml.Node {
	if objectList(n) {
		return n.Content
	}
	return []*yaml.Node{n}
}

// objectList reports whether a document is a list of objects without a List around them.
func objectList(n *yaml.Node) bool {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return false
	}
	for _, item := range n.Content {
		if item.Kind != yaml.MappingNode || text(item, "apiVersion") == "" || text(item, "kind") == "" {
			return false
		}
	}
	return true
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

// list reads the items of a List, or of a typed list such as a PodList, whose
// items may leave out what the list's kind says.
func (l *loader) list(f *file, n, items *yaml.Node, apiVersion, kind string, depth int) {
	switch {
	case items == nil || isNull(items):
		return
	case items.Kind != yaml.SequenceNode:
		l.errs.add(&Error{File: f.name, Line: items.Line, Column: items.Column, Object: kind + "List", Field: "items", Message: "want a list, not " + describe(items)})
		return
	case depth > maxDepth:
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Message: "lists nested too deep"})
		return
	}
	for i, item := range items.Content {
		at := fmt.Sprintf("items[%d]", i)
		if item.Kind != yaml.MappingNode {
			l.errs.add(&Error{File: f.name, Line: item.Line, Column: item.Column, Object: kind + "List", Field: at, Message: "want an object, not " + describe(item)})
			continue
		}
		itemVersion, itemKind := text(item, "apiVersion"), text(item, "kind")
		if kind != "" && itemVersion == "" && itemKind == "" {
			itemVersion, itemKind = apiVersion, kind
		}
		l.typed(f, item, itemVersion, itemKind, depth+1)
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
		o := k.fresh()
		if l.decode(f, n, o, objectName(n, string(k.ref), k.namespaced), k.strict) {
			o.GetObjectKind().SetGroupVersionKind(gvk)
			l.add(o, f, n)
		}
		return
	}
	if gvk == policyTestGVK {
		l.test(f, n)
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

// generateName names an object as an API server would that creates it: an object
// without a name may have a generateName, of which several may be alike.
func (l *loader) generateName(n *yaml.Node, gvk schema.GroupVersionKind) {
	m := value(n, "metadata")
	prefix := text(m, "generateName")
	if prefix == "" || value(m, "name") != nil {
		return
	}
	if l.generated == nil {
		l.generated, l.generatedNames = map[string]int{}, map[*yaml.Node]*yaml.Node{}
	}
	key := gvk.GroupKind().String() + "\x00" + text(m, "namespace") + "\x00" + prefix
	l.generated[key]++
	at := value(m, "generateName")
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Line: at.Line, Column: at.Column,
		Value: fmt.Sprintf("%s%05d", prefix, l.generated[key])}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "name", Line: at.Line, Column: at.Column}, name)
	if l.manifests != nil {
		l.generatedNames[m] = name
	}
}

// isGenerated reports whether generateName has named an object.
func (l *loader) isGenerated(n *yaml.Node) bool {
	m := value(n, "metadata")
	at := value(m, "name")
	return at != nil && at == l.generatedNames[m]
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

// translated says whether objects of a foreign kind are read as what they
// translate to. Others are for `tierwall convert` only.
func translated(gvk schema.GroupVersionKind) bool {
	return gvk.Group == calicoGroup || gvk.Group == calicoCRDGroup
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
		if k, m, err := describeObject(o.o); err == nil && k.namespaced && m.GetNamespace() == "" {
			m.SetNamespace(DefaultNamespace)
		}
		objects = append(objects, o.o)
	}
	names, others := map[runtime.Object]string{}, make([]runtime.Object, 0, len(l.res.Objects))
	for _, o := range l.foreign {
		names[o.o] = text(value(o.node, "metadata"), "name")
	}
	for i := range l.res.Objects {
		others = append(others, l.res.Objects[i].Object)
	}
	translate.SeparateDerived(objects, names, others)
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
					Message: "the settings are left out, since " + written.Ref.String() + " is there (" + written.Place() + ")"})
				continue
			}
		}
		if l.add(o, from.file, from.node) {
			l.res.Objects[len(l.res.Objects)-1].translated = true
		}
	}
}

// decode checks a tree against the type of o and decodes it. It returns false
// if it has reported an error.
func (l *loader) decode(f *file, n *yaml.Node, o any, name string, strict bool) bool {
	ok := true
	fail := func(at *yaml.Node, path, message string) {
		ok = false
		l.errs.add(&Error{File: f.name, Line: at.Line, Column: at.Column, Object: name, Field: path, Message: message})
	}
	c := checker{bad: fail, unknown: func(at *yaml.Node, path, message string) {
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
	c.check(n, reflect.TypeOf(o), "")
	if meta := value(n, "metadata"); ok && text(meta, "name") == "" {
		fail(n, "metadata.name", "is missing")
	}
	if !ok {
		return false
	}
	b, err := toJSON(n)
	if err == nil {
		err = json.UnmarshalCaseSensitivePreserveInts(b, o)
	}
	if err != nil {
		fail(n, "", err.Error())
	}
	return ok
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

// add puts a decoded object into the result, unless there is one of its name. It
// returns false if it has reported an error.
func (l *loader) add(o runtime.Object, f *file, n *yaml.Node) bool {
	k, m, err := describeObject(o)
	if err != nil {
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Message: err.Error()})
		return false
	}
	if k.namespaced && m.GetNamespace() == "" {
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
	r := model.Ref{Kind: k.ref, Name: m.GetName()}
	if k.namespaced {
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

// value returns the value of a key of a mapping, or nil.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// text returns the text under a key of a mapping, or "".
func text(n *yaml.Node, key string) string {
	v := value(n, key)
	if v == nil || v.Kind != yaml.ScalarNode || isNull(v) {
		return ""
	}
	return v.Value
}

// objectName names an object that is not decoded yet.
func objectName(n *yaml.Node, kind string, namespaced bool) string {
	m := value(n, "metadata")
	name, namespace := text(m, "name"), text(m, "namespace")
	if namespaced && namespace == "" {
		namespace = DefaultNamespace
	}
	switch {
	case name == "":
		return oneLine(kind)
	case namespace == "":
		return oneLine(kind + "/" + name)
	}
	return oneLine(kind + "/" + namespace + "/" + name)
}
