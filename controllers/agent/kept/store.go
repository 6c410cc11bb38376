package kept

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tierwall/tierwall/controllers/sealed"
)

// format of the file. Its version changes with State.
var format = sealed.Format{Name: "tierwall kept state", Version: 1}

// FileName is the file's name in the state folder.
const FileName = "boot.state"

// DefaultMaxBytes bounds the size of a file.
const DefaultMaxBytes = 8 << 20

// Errors of Load.
var (
	// ErrNone: there is no file.
	ErrNone = errors.New("nothing is kept")
	// ErrOther: the file is of another cluster, node or version.
	ErrOther = errors.New("what is kept is of another cluster, node or version")
	// ErrDamaged: the file is not what was written.
	ErrDamaged = errors.New("what is kept is damaged")
)

// Store is the file of a node. Its methods are not safe for concurrent use.
type Store struct {
	// Dir is the state folder.
	Dir string
	// Cluster is what tells the cluster from others. Empty: Load takes any.
	Cluster string
	// Node is the node's name. Empty: Load takes any.
	Node string
	// Boot is the kernel's ID of this boot.
	Boot string
	// MaxBytes; 0 means DefaultMaxBytes.
	MaxBytes int

	// last is what the file holds, as far as is known.
	last []byte
	// create makes the new file; nil: os.OpenFile. Tests fill disks by it.
	create func(name string) (file, error)
}

// file is what Save needs of a file.
type file interface {
	io.WriteCloser
	Sync() error
}

// Kept is what Load has read.
type Kept struct {
	State *State
	// Node that it was kept for.
	Node string
	// SameBoot: it was kept since the last boot, so the kernel has had all of it and more.
	SameBoot bool
}

// body is what a file holds after its first line.
type body struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Boot    string `json:"boot"`
	State   *State `json:"state"`
}

func (s *Store) path() string { return filepath.Join(s.Dir, FileName) }

func (s *Store) limit() int {
	if s.MaxBytes > 0 {
		return s.MaxBytes
	}
	return DefaultMaxBytes
}

// encode returns a file's content: the same State, the same bytes.
func (s *Store) encode(st *State) ([]byte, error) {
	return format.Seal(body{s.Cluster, s.Node, s.Boot, st})
}

// decode reads a file's content.
func (s *Store) decode(content []byte) (*Kept, error) {
	var b body
	if err := format.Open(content, &b); errors.Is(err, sealed.ErrVersion) {
		return nil, fmt.Errorf("%w: %w", ErrOther, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch {
	case b.State == nil:
		return nil, fmt.Errorf("%w: it holds nothing", ErrDamaged)
	case s.Cluster != "" && b.Cluster != s.Cluster:
		return nil, fmt.Errorf("%w: cluster", ErrOther)
	case s.Node != "" && b.Node != s.Node:
		return nil, fmt.Errorf("%w: node %q", ErrOther, b.Node)
	}
	if _, err := b.State.Objects(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return &Kept{State: b.State, Node: b.Node, SameBoot: b.Boot == s.Boot}, nil
}

// Load reads the file. Its errors are ErrNone, ErrOther, ErrDamaged or the file
// system's.
func (s *Store) Load() (*Kept, error) {
	f, err := os.Open(s.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, int64(s.limit())+1))
	if err != nil {
		return nil, err
	}
	if len(content) > s.limit() {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrDamaged, s.limit())
	}
	k, err := s.decode(content)
	if err == nil {
		s.last = content
	}
	return k, err
}

// Save writes the file: all of it or, after an error, what was there before. A State
// that the file holds already is not written again. A State that is too large is
// cut down to the node's blocks of pod addresses, and reported by small.
func (s *Store) Save(st *State) (small bool, err error) {
	content, err := s.encode(st)
	if err == nil && len(content) > s.limit() {
		small = true
		content, err = s.encode(st.Blocks(s.Node))
	}
	switch {
	case err != nil:
		return small, fmt.Errorf("encode what is to be kept: %w", err)
	case len(content) > s.limit():
		return small, fmt.Errorf("what is to be kept has %d bytes, the limit is %d", len(content), s.limit())
	case bytes.Equal(content, s.last):
		return small, nil
	}
	if err := s.write(content); err != nil {
		return small, err
	}
	s.last = content
	return small, nil
}

// write replaces the file.
func (s *Store) write(content []byte) error {
	create := s.create
	if create == nil {
		create = createFile
	}
	return replace(s.path(), content, create)
}

func createFile(name string) (file, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// Replace replaces the file of a state folder, which it makes if need be: all of the
// new content is there or, after an error, the old one.
func Replace(path string, content []byte) error { return replace(path, content, createFile) }

func replace(path string, content []byte, create func(name string) (file, error)) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := path + ".new"
	f, err := create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	if err := os.Rename(name, path); err != nil {
		return err
	}
	// The name is on the disk only with the folder.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove removes the file. One that is not there is no error.
func (s *Store) Remove() error {
	s.last = nil
	if err := os.Remove(s.path()); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("remove what is kept: %w", err)
	}
	return nil
}
