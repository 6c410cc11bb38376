package manifests

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MaxFileSize is the size of the largest file that is read, in bytes.
const MaxFileSize = 64 << 20

// Stdin is the path that means standard input.
const Stdin = "-"

// stdinName is what messages call standard input.
const stdinName = "stdin"

// file is one input file, whole.
type file struct {
	name string // for people
	// named is true if the user named the file itself, not a folder above it.
	named bool
	data  []byte
}

// isManifest says whether a file of a folder is read.
func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// found is a file to read.
type found struct {
	path  string
	named bool
}

// findFiles expands paths to files: a folder to all manifests below it, sorted
// by path; hidden files and folders are left out. A file that is reached twice
// counts once, at its first place.
func findFiles(paths []string, errs *errorList) []found {
	var out []found
	seen := map[string]bool{}
	add := func(path string, named bool) {
		key := path
		if path != Stdin {
			if abs, err := filepath.Abs(path); err == nil {
				key = abs
			}
		}
		if !seen[key] {
			seen[key] = true
			out = append(out, found{path, named})
		}
	}
	for _, path := range paths {
		if path == Stdin {
			add(path, true)
			continue
		}
		info, err := os.Stat(path)
		switch {
		case path == "":
			errs.add(&Error{Message: "a path is empty", Unread: true})
		case err != nil:
			errs.add(&Error{File: path, Message: reason(err), Unread: true})
		case info.IsDir():
			files := findBelow(path, errs)
			if len(files) == 0 {
				errs.add(&Error{File: path, Message: "the folder holds no *.yaml, *.yml or *.json files", Unread: true})
			}
			for _, f := range files {
				add(f, false)
			}
		default:
			add(path, true)
		}
	}
	return out
}

// findBelow lists the manifests below a folder, sorted by path.
func findBelow(root string, errs *errorList) []string {
	var files []string
	// WalkDir does not enter a root that is a symbolic link; with the slash it does.
	err := filepath.WalkDir(root+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		path = filepath.Clean(path)
		if err != nil {
			errs.add(&Error{File: path, Message: reason(err), Unread: true})
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != filepath.Clean(root)
		if d.IsDir() {
			if hidden {
				return fs.SkipDir
			}
			return nil
		}
		if hidden || !isManifest(path) {
			return nil
		}
		// A link to a file counts, as in mounted ConfigMaps; pipes and devices
		// in a folder do not.
		info, err := os.Stat(path)
		if err != nil {
			errs.add(&Error{File: path, Message: reason(err), Unread: true})
			return nil
		}
		if info.Mode().IsRegular() {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		errs.add(&Error{File: root, Message: reason(err), Unread: true})
	}
	slices.Sort(files)
	return files
}

// readFile reads a file or standard input up to the limit.
func readFile(f found, opts Options) (*file, *Error) {
	if f.path == Stdin {
		if opts.Stdin == nil {
			return nil, &Error{File: stdinName, Message: "there is no standard input", Unread: true}
		}
		return readAll(stdinName, true, opts.Stdin)
	}
	r, err := os.Open(f.path)
	if err != nil {
		return nil, &Error{File: f.path, Message: reason(err), Unread: true}
	}
	defer func() { _ = r.Close() }() // nothing was written
	info, err := r.Stat()
	if err != nil {
		return nil, &Error{File: f.path, Message: reason(err), Unread: true}
	}
	if info.Mode().IsRegular() && info.Size() > MaxFileSize {
		return nil, &Error{File: f.path, Message: fmt.Sprintf("%d bytes are more than the limit of %d MiB", info.Size(), MaxFileSize>>20), Unread: true}
	}
	return readAll(f.path, f.named, r)
}

// readAll reads up to the limit, whatever the length was said to be.
func readAll(name string, named bool, r io.Reader) (*file, *Error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFileSize+1))
	if err != nil {
		return nil, &Error{File: name, Message: reason(err), Unread: true}
	}
	if len(data) > MaxFileSize {
		return nil, &Error{File: name, Message: fmt.Sprintf("more than the limit of %d MiB", MaxFileSize>>20), Unread: true}
	}
	data, ok := decodeUTF16(data)
	if !ok {
		return nil, &Error{File: name, Line: 1, Message: "not UTF-8 or UTF-16 text"}
	}
	if i := invalidUTF8(data); i >= 0 {
		return nil, &Error{File: name, Line: 1 + strings.Count(string(data[:i]), "\n"), Message: "not UTF-8 text"}
	}
	data = dropByteOrderMarks(data)
	return &file{name: name, named: named, data: data}, nil
}

// reason is the cause of a file error without the path, which the message has already.
func reason(err error) string {
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file or folder"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case errors.As(err, &pathErr):
		return pathErr.Err.Error()
	}
	return err.Error()
}
