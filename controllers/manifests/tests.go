package manifests

import (
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// Test is a PolicyTest and where it stands.
type Test struct {
	*v1alpha1.PolicyTest
	// Object has the place of the test. Its Object field is nil: a PolicyTest is
	// no API object.
	Object Object

	file   *file
	beside int // documents of the file that are no tests
}

// FindTests finds the PolicyTests in files, in folders with all below them, and
// on standard input ("-"), and reads nothing else. Files of a folder that hold no
// kind like PolicyTest are not even parsed, so that a folder may hold templates and
// the like. What is nearly a PolicyTest, such as one of a misspelt kind, is an
// error. The error is as that of Load; the tests that can be read are returned beside it.
func FindTests(paths []string, opts Options) ([]Test, error) {
	l := &loader{res: &Result{}, testsOnly: true}
	for _, f := range findFiles(paths, &l.errs) {
		file, err := readFile(f, opts)
		switch {
		case err != nil:
			l.errs.add(err)
		case f.named || mayHoldTests(file.data):
			l.file(file)
		}
	}
	_, err := l.finish()
	return l.res.Tests, err
}

// Resources returns the paths of the files and folders that the test's objects
// are in. They are empty if its objects are in the test's own file.
func (t *Test) Resources() ([]string, error) {
	var errs errorList
	paths := make([]string, 0, len(t.Spec.Resources))
	for i, r := range t.Spec.Resources {
		path := r
		if !filepath.IsAbs(r) && t.file.name != stdinName {
			path = filepath.Join(filepath.Dir(t.file.name), r)
		}
		_, err := os.Stat(path)
		switch {
		case r == "" || r == Stdin:
			errs.add(t.Error(fmt.Sprintf("spec.resources[%d]", i), "want a file or folder"))
		case err != nil:
			errs.add(t.Error(fmt.Sprintf("spec.resources[%d]", i), path+": "+reason(err)))
		}
		paths = append(paths, path)
	}
	return paths, errs.join()
}

// Load reads the objects that the test is about: its resources, or if it names
// none the other documents of its file. The Result is not completed yet.
func (t *Test) Load() (*Result, error) {
	if len(t.Spec.Resources) == 0 {
		l := &loader{res: &Result{}}
		l.file(t.file)
		r, err := l.finish()
		if err == nil && len(r.Objects) == 0 {
			err = t.Error("spec.resources", "is empty, and the file holds no objects beside the test")
		}
		return r, err
	}
	paths, err := t.Resources()
	if err != nil {
		return nil, err
	}
	return Load(paths, Options{})
}

// Error returns an error about a field of the test, at its place.
func (t *Test) Error(field, message string) *Error {
	line, column := t.Object.PositionOf(field)
	return &Error{File: t.Object.File, Line: line, Column: column, Object: t.Object.Ref.String(), Field: field, Message: message}
}

// test reads a PolicyTest.
func (l *loader) test(f *file, n *yaml.Node) {
	name := objectName(n, policyTestGVK.Kind, false)
	t := &v1alpha1.PolicyTest{}
	if !l.decode(f, n, t, name, true) {
		return
	}
	if !isPrintable(t.Name) {
		l.errs.add(&Error{File: f.name, Line: lineOf(n, "metadata.name"), Column: columnOf(n, "metadata.name"), Object: name, Field: "metadata.name", Message: mustBePrintable})
		return
	}
	if len(t.Spec.Cases) == 0 {
		l.errs.add(&Error{File: f.name, Line: lineOf(n, "spec.cases"), Column: columnOf(n, "spec.cases"), Object: name, Field: "spec.cases", Message: "is empty"})
		return
	}
	l.res.Tests = append(l.res.Tests, Test{
		PolicyTest: t, file: f,
		Object: Object{Ref: model.Ref{Kind: model.Kind(policyTestGVK.Kind), Name: t.Name}, File: f.name, Line: n.Line, Column: n.Column, outline: outlineOf(n)},
	})
}

// Beside counts the documents of the test's file that are no PolicyTests.
func (t *Test) Beside() int { return t.beside }
