package manifests

import (
	"crypto/sha256"

	"go.yaml.in/yaml/v3"
)

// Memory makes a Load take over what an earlier one has made of the same document at the
// same line, once, instead of reading it again: two states of a cluster mostly differ in little.
// The zero Memory is empty and ready to use. Not safe for concurrent use.
type Memory struct {
	docs map[documentKey]Object
}

// documentKey is the text of a document and its line.
type documentKey struct {
	line int
	sum  [sha256.Size]byte
}

// recall adds the object of a document that was read before, or returns false.
func (l *loader) recall(f *file, c chunk) bool {
	if l.memory == nil {
		return false
	}
	l.reading = documentKey{c.line, sha256.Sum256(c.text)}
	o, ok := l.memory.docs[l.reading]
	if !ok {
		return false
	}
	if _, twice := l.res.Lookup(o.Ref); twice {
		return false
	}
	delete(l.memory.docs, l.reading) // its object is handed over, not copied
	o.File = f.name
	l.res.add(o)
	return true
}

// remember reads a document and keeps its object, if it is one and there was nothing
// else to say about it.
func (l *loader) remember(f *file, n *yaml.Node) {
	named := text(value(n, "metadata"), "name") != ""
	objects, errs, dropped, warnings, tests := len(l.res.Objects), len(l.errs.errs), l.errs.dropped, len(l.res.Warnings), len(l.res.Tests)
	l.document(f, n)
	if l.memory == nil || !named || len(objectsIn(n)) != 1 || len(l.res.Objects) != objects+1 ||
		len(l.errs.errs) != errs || l.errs.dropped != dropped || len(l.res.Warnings) != warnings || len(l.res.Tests) != tests {
		return
	}
	o := l.res.Objects[objects]
	o.Object = o.DeepCopyObject() // Complete changes that of the Result
	if l.memory.docs == nil {
		l.memory.docs = map[documentKey]Object{}
	}
	l.memory.docs[l.reading] = o
}
