package folder

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
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/manifests"
)

// Options of a Source. Dir is required; a zero value of the others selects the
// default that their comment names.
type Options struct {
	// Dir is the folder. The objects are those of its manifests and of the manifests
	// of folders below it.
	Dir string
	// Node is the node of host endpoints that name none, and the name of the node
	// that is added if no file defines it. Empty: host endpoints stay as they are,
	// and no node is added.
	Node string
	// HostAddrs returns the addresses of the node that is added, as [HostAddrs] does.
	// Nil: no node is added.
	HostAddrs func() ([]netip.Addr, error)
	// StateDir is the folder that keeps the last good content of each file, so that
	// a file that is broken when the agent starts has the meaning that it last had.
	// Empty: nothing is kept.
	StateDir string
	// Settle is how long the folder must be quiet before it is read; default 50 ms.
	Settle time.Duration
	// Reread is how often the folder is read without a notice of a change; default
	// 1 min.
	Reread time.Duration
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: nothing is logged.
	Log *slog.Logger
}

// Source delivers the objects of a folder. See New and Run.
type Source struct {
	opts  Options
	clock clock.Clock
	log   *slog.Logger
	files map[string]*file
	known objectSet
	// reported is the text of the last report.
	reported string
}

var _ agent.Source = (*Source)(nil)

// file is one file as it was last read.
type file struct {
	data []byte
	// good is the last content that could be read; nil: none could.
	good *manifests.Result
	err  error
}

// maxSettles bounds the wait for a folder that keeps changing, in Options.Settle.
const maxSettles = 10

// missingRetry is how soon a folder that cannot be read is tried again.
const missingRetry = 2 * time.Second

// New returns the Source of a folder. It reads nothing until Run.
func New(o Options) *Source {
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
	return &Source{opts: o, clock: o.Clock, log: o.Log, files: map[string]*file{}, known: objectSet{}}
}

// Run implements agent.Source.
func (f *Source) Run(ctx context.Context, to agent.Sink) error {
	w, err := fsnotify.NewWatcher()
	var events <-chan fsnotify.Event
	var failures <-chan error
	if err != nil {
		// Reading at intervals is enough.
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

// watch watches the folder and the folders below it. Folders that are watched already
// stay watched; the watcher itself drops those that are gone.
func (f *Source) watch(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	_ = filepath.WalkDir(f.opts.Dir+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // reading reports it
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

// reconcile reads the files that have changed and delivers their objects. It reports
// whether the folder could be read.
func (f *Source) reconcile(to agent.Sink) bool {
	paths, err := manifests.FindFiles(f.opts.Dir)
	if err != nil {
		f.report(to, []error{err})
		return false
	}
	var errs []error
	files := make(map[string]*file, len(paths))
	for _, path := range paths {
		now := f.read(path)
		files[path] = now
		if now.err != nil {
			errs = append(errs, now.err)
		}
	}
	f.files = files
	objects, more := f.merge(paths)
	errs = append(errs, more...)
	to.Update(f.known.update(objects))
	f.report(to, errs)
	return true
}

// report passes errors on, unless they are those of the last report.
func (f *Source) report(to agent.Sink, errs []error) {
	text := ""
	if err := errors.Join(errs...); err != nil {
		text = err.Error()
	}
	if text != f.reported {
		f.reported = text
		to.Report(errs...)
	}
}

// read reads a file, unless its content is as it was.
func (f *Source) read(path string) *file {
	before := f.files[path]
	data, err := readLimited(path)
	if before != nil && before.data != nil && err == nil && bytes.Equal(data, before.data) {
		return before
	}
	now := &file{data: data}
	if before != nil {
		now.good = before.good
	} else if f.opts.StateDir != "" {
		now.good = f.recall(path)
	}
	switch {
	case err != nil:
		now.data = nil // read it again next time
	case len(data) == 0 && now.good != nil && len(now.good.Objects) > 0:
		// Most likely it is being written.
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

// blank reports whether a file holds comments and separators only: it has no objects on
// purpose.
func blank(data []byte) bool {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// adopt puts host endpoints that name no node on this one.
func (f *Source) adopt(r *manifests.Result) {
	if f.opts.Node == "" {
		return
	}
	for i := range r.Objects {
		if h, ok := r.Objects[i].Object.(*v1alpha1.HostEndpoint); ok && h.Spec.Node == "" {
			h.Spec.Node = f.opts.Node
		}
	}
}
