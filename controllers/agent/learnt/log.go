package learnt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/policy/names"
)

// FileName is the file's name in the state folder.
const FileName = "names.log"

// DefaultMaxBytes bounds the size of a file: a million addresses have room, IPv6 ones too.
const DefaultMaxBytes = 32 << 20

// ErrFull means that there is no room for what was to be appended. After Compact there is.
var ErrFull = errors.New("the file has no room for more names")

// Log is the file of a node. Its methods are not safe for concurrent use. Load comes
// first, to find where the file's good part ends; then Append and Compact.
type Log struct {
	// Path of the file.
	Path string
	// MaxBytes; 0 means DefaultMaxBytes.
	MaxBytes int64

	file file
	// size of the file's good part; bad: there may be more behind it.
	size int64
	bad  bool
	// compacted is the size after Compact.
	compacted int64
	// open opens the file for appending; nil: openFile. Tests fill disks by it.
	open func(name string) (file, error)
}

// file is what a Log needs of one.
type file interface {
	io.WriteCloser
	Truncate(size int64) error
}

func openFile(name string) (file, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0o600)
}

func (l *Log) limit() int64 {
	if l.MaxBytes > 0 {
		return l.MaxBytes
	}
	return DefaultMaxBytes
}

// Loaded is what Load has found.
type Loaded struct {
	// Addresses that each was called for.
	Addresses int
	// Damaged is how many bytes at the end of the file were left out: the last write
	// was torn, or something has changed the file.
	Damaged int64
}

// Load calls each for what the file holds, in the order in which it was learnt: of one
// address of one name the latest comes last. A file that is not there holds nothing, one
// of another version as well. Errors are those of the file system.
func (l *Log) Load(each func(names.Known)) (Loaded, error) {
	var out Loaded
	l.size, l.bad = 0, true
	f, err := os.Open(l.Path)
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("learnt names: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return out, fmt.Errorf("learnt names: %w", err)
	}
	out.Addresses, l.size, err = read(io.LimitReader(f, l.limit()), each)
	if err != nil {
		return out, fmt.Errorf("learnt names: %w", err)
	}
	out.Damaged = info.Size() - l.size
	return out, nil
}

// read calls each for what a file holds, and returns for how many addresses, and the
// length of the file's good part: 0 if it is none of this version.
func read(from io.Reader, each func(names.Known)) (addresses int, size int64, err error) {
	r := bufio.NewReaderSize(from, maxFrame)
	first, err := r.Peek(len(header))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	if string(first) != header {
		return 0, 0, nil
	}
	for n := len(header); ; {
		_, _ = r.Discard(n) // it has been peeked at
		size += int64(n)
		b, err := r.Peek(maxFrame)
		if err != nil && !errors.Is(err, io.EOF) {
			return addresses, size, err
		}
		var ok bool
		if n, ok = readFrame(b, func(k names.Known) { addresses++; each(k) }); !ok {
			return addresses, size, nil
		}
	}
}

// Append adds what has been learnt, or learnt again, since. It fails with ErrFull and
// writes nothing if the file would become too large. After another error the file
// holds what it held.
func (l *Log) Append(known []names.Known) error {
	if len(known) == 0 {
		return nil
	}
	frames := appendFrames(nil, known)
	if l.size == 0 {
		return ErrFull // of what is there nothing counts: it has to be written anew
	}
	if l.size+int64(len(frames)) > l.limit() {
		return ErrFull
	}
	if err := l.ready(); err != nil {
		return fmt.Errorf("learnt names: %w", err)
	}
	l.bad = true
	if _, err := l.file.Write(frames); err != nil {
		return fmt.Errorf("learnt names: %w", err)
	}
	l.size, l.bad = l.size+int64(len(frames)), false
	return nil
}

// ready opens the file, and cuts off what does not count.
func (l *Log) ready() error {
	if l.file == nil {
		open := l.open
		if open == nil {
			open = openFile
		}
		f, err := open(l.Path)
		if err != nil {
			return err
		}
		l.file, l.bad = f, true
	}
	if l.bad {
		if err := l.file.Truncate(l.size); err != nil {
			return err
		}
		l.bad = false
	}
	return nil
}

// Long reports whether the file should be compacted: it has become twice as long as it
// was after the last time, and more than a hundredth of its bound.
func (l *Log) Long() bool {
	return l.size > max(2*l.compacted, l.limit()/100)
}

// Compact writes the file anew with all that is known. What has no room is left out, the
// last names first, and their number of addresses is returned. After an error the file holds what it held.
func (l *Log) Compact(known []names.Known) (left int, err error) {
	content := []byte(header)
	for len(known) > 0 {
		n := 1
		for n < len(known) && n < perFrame && known[n].Name == known[0].Name {
			n++
		}
		before := len(content)
		if content = appendFrame(content, known[:n]); int64(len(content)) > l.limit() {
			content, left = content[:before], len(known)
			break
		}
		known = known[n:]
	}
	if err := kept.Replace(l.Path, content); err != nil {
		return left, fmt.Errorf("learnt names: %w", err)
	}
	err = l.Close() // of the file that was replaced
	l.size, l.compacted = int64(len(content)), int64(len(content))
	return left, err
}

// Close closes the file. Append opens it again.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return fmt.Errorf("learnt names: %w", err)
	}
	return nil
}
