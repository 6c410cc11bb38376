package startup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/controllers/startup/ghosts"
)

const (
	// KeptName is the name of the file of pods in the state folder.
	KeptName = "pods.state"
	// maxKept bounds its size.
	maxKept = 8 << 20
	// keepDelay is from a change to the file that has it, at least.
	keepDelay = time.Second
)

// Keeper keeps the pods of the node for the agent after this one.
type Keeper interface {
	// Load returns what the agent before has kept; none, if that is not known.
	Load() ([]ghosts.Pod, error)
	// Save keeps these in place of those before.
	Save([]ghosts.KeptPod) error
}

// File is a Keeper in a state folder. What it has of another cluster, node or boot
// counts as nothing.
type File struct {
	Dir                 string
	Cluster, Node, Boot string

	last []byte
}

var _ Keeper = (*File)(nil)

// Load implements Keeper.
func (f *File) Load() ([]ghosts.Pod, error) {
	in, err := os.Open(filepath.Join(f.Dir, KeptName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	content, err := io.ReadAll(io.LimitReader(in, maxKept+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxKept {
		return nil, fmt.Errorf("%s: it is larger than %d bytes", KeptName, maxKept)
	}
	list, err := ghosts.Decode(content, f.Cluster, f.Node, f.Boot)
	if errors.Is(err, ghosts.ErrOther) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KeptName, err)
	}
	return list, nil
}

// Save implements Keeper: all of it is in the file or, after an error, what was there before.
func (f *File) Save(list []ghosts.KeptPod) error {
	s := ghosts.State{Cluster: f.Cluster, Node: f.Node, Boot: f.Boot, Pods: list}
	content, err := s.Encode()
	if err != nil || bytes.Equal(content, f.last) {
		return err
	}
	if len(content) > maxKept {
		return fmt.Errorf("%s: it would be larger than %d bytes", KeptName, maxKept)
	}
	if err := kept.Replace(filepath.Join(f.Dir, KeptName), content); err != nil {
		return err
	}
	f.last = content
	return nil
}

// Forget removes the file of a state folder. One that is not there is no error.
func Forget(dir string) error {
	if err := os.Remove(filepath.Join(dir, KeptName)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("remove the kept pods: %w", err)
	}
	return nil
}

// recall takes the pods that the agent before has kept. Those that the API server does
// not list are ghosts; see adopt.
func (o *Overlay) recall() {
	if o.opts.Keeper == nil {
		return
	}
	list, err := o.opts.Keeper.Load()
	if err != nil {
		o.opts.Log.Warn("the pods of the agent before are not known: those without an object that still run are not denied", "error", err)
	}
	o.graves.former = list
}

// remember makes ghosts of the pods that the agent before knew and the API server does
// not list.
func (o *Overlay) remember() {
	list := o.graves.former
	o.graves.former = nil
	for _, g := range list {
		k := key{g.Namespace, g.Name}
		if p := o.pods[k]; p != nil && string(p.UID) == g.UID {
			continue
		}
		g.Addrs = slices.DeleteFunc(slices.Clone(g.Addrs), func(a netip.Addr) bool {
			return !usable(a) || !o.haunts(key{}, nil, a, slices.Contains(g.Linked, a))
		})
		o.graves.book.Begin(g, o.opts.Clock.Now())
	}
}

// planKeep has what is known of this node's pods kept a little later.
func (o *Overlay) planKeep() {
	if o.opts.Keeper == nil || o.graves.keeping || !o.unknown.synced {
		return
	}
	o.graves.keeping = true
	o.opts.Clock.AfterFunc(keepDelay, func() { go o.keep() })
}

// keep keeps what is known of this node's pods.
func (o *Overlay) keep() {
	o.saving.Lock()
	defer o.saving.Unlock()
	o.mu.Lock()
	o.graves.keeping = false
	list := o.graves.book.Kept()
	for k, p := range o.pods {
		if !p.local {
			continue
		}
		g := ghosts.Pod{Namespace: k.namespace, Name: k.name, UID: string(p.UID), Addrs: o.knownAddrs(k, p), Grace: graceOf(p.Pod)}
		for _, a := range g.Addrs {
			if at := o.graves.attached[a]; at.now && at.pod == podRef(k) {
				g.Linked = append(g.Linked, a)
			}
		}
		if len(g.Addrs) > 0 {
			list = append(list, ghosts.Keep(g))
		}
	}
	o.mu.Unlock()
	slices.SortFunc(list, func(x, y ghosts.KeptPod) int {
		return slices.Compare([]string{x.Namespace, x.Name, x.UID}, []string{y.Namespace, y.Name, y.UID})
	})
	err := o.opts.Keeper.Save(list)
	o.mu.Lock()
	defer o.mu.Unlock()
	text := ""
	if err != nil {
		if text = err.Error(); text != o.graves.failed {
			o.opts.Log.Warn("the pods of this node cannot be kept for the next agent", "error", err)
		}
	}
	o.graves.failed = text
}
