package cluster

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/tierwall/tierwall/policy/convert"
)

// layer takes the objects of one kind that a store finds new, changed and gone: ownLayer
// takes Tierwall's and Kubernetes' objects, pods among them, and foreignLayer translated
// ones (layers.go); definitions takes the names of CustomResourceDefinitions.
type layer interface {
	upsert(namespace, name string, o any)
	remove(namespace, name string)
}

// observer follows how the reading of a kind goes: run (source.go) does for kinds, and
// definitions for their definitions.
type observer interface {
	// listed is called when the store has all objects of the kind.
	listed()
	// unreadable is called when an object cannot be read, and with nil when it can be
	// again or is gone.
	unreadable(namespace, name string, err error)
	// answered is called with the error of each request; nil: it succeeded.
	answered(err error)
}

// store is what a reflector fills. It hands objects on and remembers but their
// names and hashes.
//
// A reflector that streams a list collects it in a store of its own before it
// replaces what is in this one. It puts every object through Transformer first,
// and there it is handed on already: what is left to be collected is a key. In
// the same way list hands on the objects of a plain list page by page. Replace
// then has only to find what is gone.
type store struct {
	kind     *kind
	layer    layer
	observer observer
	hasher   hasher

	mu    sync.Mutex
	known map[string]map[string]uint64 // namespace, name: hash
	// unread are objects that could not be read.
	unread map[string]bool
}

var _ cache.TransformingStore = (*store)(nil)

func newStore(k *kind, l layer, o observer) *store {
	return &store{kind: k, layer: l, observer: o, known: map[string]map[string]uint64{}, unread: map[string]bool{}}
}

// Add implements cache.ReflectorStore.
func (s *store) Add(o any) error {
	_, err := s.put(o)
	return err
}

// Update implements cache.ReflectorStore.
func (s *store) Update(o any) error { return s.Add(o) }

// Delete implements cache.ReflectorStore.
func (s *store) Delete(o any) error {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(split(key))
	return nil
}

// Replace implements cache.ReflectorStore. What is in the list is known already
// or, if it is an object, is taken as by Add.
func (s *store) Replace(list []any, _ string) error {
	present := make(map[string]map[string]struct{}, len(s.known))
	for _, o := range list {
		if obj, ok := o.(runtime.Object); ok && !isKey(obj) {
			if _, err := s.put(obj); err != nil {
				return err
			}
		}
		key, err := cache.MetaNamespaceKeyFunc(o)
		if err != nil {
			return err
		}
		ns, name := split(key)
		if present[ns] == nil {
			present[ns] = map[string]struct{}{}
		}
		present[ns][name] = struct{}{}
	}
	s.retain(present)
	s.observer.listed()
	return nil
}

// retain forgets what is not present.
func (s *store) retain(present map[string]map[string]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ns, names := range s.known {
		for name := range names {
			if _, there := present[ns][name]; !there {
				s.forget(ns, name)
			}
		}
	}
	for key := range s.unread {
		ns, name := split(key)
		if _, there := present[ns][name]; !there {
			s.forget(ns, name)
		}
	}
}

// Resync implements cache.ReflectorStore. There is nothing to repeat.
func (s *store) Resync() error { return nil }

// Transformer implements cache.TransformingStore.
func (s *store) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		key, err := s.put(o)
		return cache.ExplicitKey(key), err
	}
}

// put passes an object on to the layer if it is news, and returns its key.
func (s *store) put(in any) (string, error) {
	if key, ok := in.(cache.ExplicitKey); ok {
		return string(key), nil
	}
	raw, ok := in.(runtime.Object)
	if !ok {
		return "", fmt.Errorf("unexpected %T", in)
	}
	m, err := meta.Accessor(raw)
	if err != nil {
		return "", err
	}
	ns, name := m.GetNamespace(), m.GetName()
	s.mu.Lock()
	defer s.mu.Unlock()
	t, part := s.trim(raw)
	if !part {
		s.forget(ns, name)
		return join(ns, name), nil
	}
	before, there := s.known[ns][name]
	if there && before == t.hash && !s.unread[join(ns, name)] {
		return join(ns, name), nil
	}
	o, err := t.decode()
	s.note(ns, name, err)
	// An object that cannot be read any more stays as it was. One that can be read but for
	// some fields counts as it is now.
	var partly *convert.UnknownFieldsError
	if o != nil && (err == nil || !there || errors.As(err, &partly)) {
		s.remember(ns, name, t.hash)
		s.layer.upsert(ns, name, o)
	}
	return join(ns, name), nil
}

// note keeps which objects cannot be read.
func (s *store) note(ns, name string, err error) {
	key := join(ns, name)
	switch {
	case err != nil:
		s.unread[key] = true
		s.observer.unreadable(ns, name, err)
	case s.unread[key]:
		delete(s.unread, key)
		s.observer.unreadable(ns, name, nil)
	}
}

func (s *store) remember(ns, name string, hash uint64) {
	names := s.known[ns]
	if names == nil {
		names = map[string]uint64{}
		s.known[strings.Clone(ns)] = names
	}
	names[name] = hash
}

// forget removes an object, if it was there.
func (s *store) forget(ns, name string) {
	s.note(ns, name, nil)
	names := s.known[ns]
	if _, there := names[name]; !there {
		return
	}
	if delete(names, name); len(names) == 0 {
		delete(s.known, ns)
	}
	s.layer.remove(ns, name)
}

// clear removes all objects.
func (s *store) clear() { s.retain(nil) }

// has reports whether there is such an object.
func (s *store) has(ns, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.known[ns][name]
	return there
}

func split(key string) (ns, name string) {
	ns, name, found := strings.Cut(key, "/")
	if !found {
		return "", key
	}
	return ns, name
}

func join(ns, name string) string {
	if ns == "" {
		return name
	}
	return ns + "/" + name
}

// seed of the hashes of this process: nobody can choose objects whose hashes agree.
var seed = maphash.MakeSeed()

// hasher hashes built-in objects; it keeps a buffer between them.
type hasher struct{ buf []byte }

// marshaler is what the built-in types can do. Maps go in order of their keys.
type marshaler interface {
	Size() int
	MarshalToSizedBuffer(data []byte) (int, error)
}

func (h *hasher) hash(o marshaler) uint64 {
	n := o.Size()
	if cap(h.buf) < n {
		h.buf = make([]byte, n, 2*n)
	}
	m, err := o.MarshalToSizedBuffer(h.buf[:n])
	if err != nil {
		return rand.Uint64() // it never happens, and costs a delivery too many
	}
	return maphash.Bytes(seed, h.buf[n-m:n])
}
