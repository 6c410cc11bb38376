package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
)

// FolderOptions of a Folder. Dir is needed; of the others the zero value means
// the default that is named.
type FolderOptions struct {
	// Dir is the folder; its manifests, also those of folders below it, are the objects.
	Dir string
	// Node is what host endpoints that name no node are on, and the name of the
	// node that is added if no file defines it. Empty: neither.
	Node string
	// HostAddrs says the addresses of the node that is added; see HostAddrs. Nil:
	// none is added.
	HostAddrs func() ([]netip.Addr, error)
	// StateDir is where the last good content of each file is kept, so that a file
	// that is broken when the agent starts counts as it last did. Empty: nowhere.
	StateDir string
	// Settle is how long the folder must be quiet before it is read; default 50 ms.
	Settle time.Duration
	// Reread is how often the folder is read although nothing seems to have
	// happened; default 1 min.
	Reread time.Duration
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
}

// Folder is the Source of a host without a cluster: it says what the manifests
// of a folder say, whenever they change.
//
// A file that does not parse, or that is suddenly empty, counts as it last did,
// and is reported. The same object in two files counts as the first of them (by
// path) says, and is reported. If the folder itself cannot be read everything
// stays as it is. Objects of other systems are translated file by file.
type Folder struct {
	opts  FolderOptions
	clock clock.Clock
	log   *slog.Logger
	files map[string]*folderFile
	known objectSet
	said  string // the last report
}

// folderFile is one file as it was last read.
type folderFile struct {
	data []byte
	// good is the last content that could be read; nil: never.
	good *manifests.Result
	err  error
}

// maxSettles bounds the wait for a folder that does not come to rest, in Settles.
const maxSettles = 10

// missingRetry is how soon a folder that cannot be read is tried again.
const missingRetry = 2 * time.Second

// NewFolder returns the Source of a folder.
func NewFolder(o FolderOptions) *Folder {
	if o.Settle <= 0 {
		o.Settle = 50 * time.Millisecond
	}
	if o.Reread <= 0 {
		o.Reread = time.Minute
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Folder{opts: o, clock: o.Clock, log: o.Log, files: map[string]*folderFile{}, known: objectSet{}}
}

// Run implements Source.
func (f *Folder) Run(ctx context.Context, to Sink) error {
	w, err := fsnotify.NewWatcher()
	var events <-chan fsnotify.Event
	var failures <-chan error
	if err != nil {
		// Reading now and then has to do.
		f.log.Warn("folder cannot be watched", "folder", f.opts.Dir, "error", err, "readEvery", f.opts.Reread)
	} else {
		defer func() { _ = w.Close() }()
		events, failures = w.Events, w.Errors
	}
	synced := false
	for {
		// Watch before reading: what changes after that is not missed.
		f.watch(w)
		next := f.opts.Reread
		if f.reconcile(to) {
			if !synced {
				synced = true
				to.Synced()
			}
		} else {
			next = min(next, missingRetry)
		}
		timer := f.clock.NewTimer(next)
		var first time.Time // of a burst
	wait:
		for {
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-timer.C():
				break wait
			case e := <-events:
				if e.Op == fsnotify.Chmod {
					continue
				}
			case err := <-failures:
				f.log.Warn("events of the folder were missed", "folder", f.opts.Dir, "error", err)
			}
			now := f.clock.Now()
			if first.IsZero() {
				first = now
			}
			timer.Stop()
			timer = f.clock.NewTimer(min(f.opts.Settle, first.Add(maxSettles*f.opts.Settle).Sub(now)))
		}
	}
}

// watch watches the folder and those below it. Folders that are watched already
// stay so; those that are gone are forgotten by the watcher itself.
func (f *Folder) watch(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	_ = filepath.WalkDir(f.opts.Dir+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // reading will say so
		case !d.IsDir():
			return nil
		case strings.HasPrefix(d.Name(), ".") && filepath.Clean(path) != filepath.Clean(f.opts.Dir):
			return fs.SkipDir
		}
		if err := w.Add(path); err != nil {
			f.log.Warn("folder cannot be watched", "folder", path, "error", err, "readEvery", f.opts.Reread)
		}
		return nil
	})
}

// reconcile reads what has changed and delivers it; false if the folder cannot be read.
func (f *Folder) reconcile(to Sink) bool {
	paths, err := manifests.FindFiles(f.opts.Dir)
	if err != nil {
		f.tell(to, []error{err})
		return false
	}
	var errs []error
	files := make(map[string]*folderFile, len(paths))
	for _, path := range paths {
		file := f.read(path)
		files[path] = file
		if file.err != nil {
			errs = append(errs, file.err)
		}
	}
	f.files = files
	objects, more := f.merge(paths)
	errs = append(errs, more...)
	to.Update(f.known.update(objects))
	f.tell(to, errs)
	return true
}

// tell reports what is wrong, if that is news.
func (f *Folder) tell(to Sink, errs []error) {
	text := ""
	if err := errors.Join(errs...); err != nil {
		text = err.Error()
	}
	if text != f.said {
		f.said = text
		to.Report(errs...)
	}
}

// read reads a file unless it is as it was.
func (f *Folder) read(path string) *folderFile {
	before := f.files[path]
	data, err := readLimited(path)
	if before != nil && before.data != nil && err == nil && bytes.Equal(data, before.data) {
		return before
	}
	now := &folderFile{data: data}
	if before != nil {
		now.good = before.good
	} else if f.opts.StateDir != "" {
		now.good = f.recall(path)
	}
	switch {
	case err != nil:
		now.data = nil // read it again next time
	case len(data) == 0 && now.good != nil && len(now.good.Objects) > 0:
		// Most likely somebody is just writing it.
		err = &manifests.Error{File: path, Message: "is empty"}
	case blank(data):
		now.good = &manifests.Result{}
		f.remember(path, data)
	default:
		var r *manifests.Result
		if r, err = manifests.LoadBytes(path, data); err == nil {
			f.adopt(r)
			now.good = r
			f.remember(path, data)
			for _, w := range r.Warnings {
				f.log.Warn("file of the folder", "warning", w.String())
			}
		}
	}
	if err != nil {
		held := "nothing of it counts"
		if now.good != nil {
			held = "its last good content counts"
		}
		now.err = fmt.Errorf("%w (%s)", err, held)
	}
	return now
}

func readLimited(path string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(r, manifests.MaxFileSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > manifests.MaxFileSize:
		return nil, &manifests.Error{File: path, Message: fmt.Sprintf("more than the limit of %d MiB", manifests.MaxFileSize>>20)}
	}
	return append([]byte{}, data...), nil // not nil even if empty
}

// blank says whether a file holds comments and separators only: no objects, on purpose.
func blank(data []byte) bool {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// adopt gives host endpoints that name no node this one.
func (f *Folder) adopt(r *manifests.Result) {
	if f.opts.Node == "" {
		return
	}
	for i := range r.Objects {
		if h, ok := r.Objects[i].Object.(*v1alpha1.HostEndpoint); ok && h.Spec.Node == "" {
			h.Spec.Node = f.opts.Node
		}
	}
}
