package links

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/tierwall/tierwall/policy/model"
)

// Fake is a Reader in memory, for tests. Safe for concurrent use. The zero Fake
// reports a node without any links.
type Fake struct {
	mu      sync.Mutex
	links   model.Links
	err     error
	pods    Pods
	reads   int
	changed func()
}

// Set makes the Fake report other links from now on, and notifies watchers.
func (f *Fake) Set(l model.Links) {
	f.mu.Lock()
	f.links = l
	f.mu.Unlock()
	f.Notify()
}

// Fail makes Read fail with err from now on; nil ends that.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Notify calls what Watch was given.
func (f *Fake) Notify() {
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// Reads returns how many times Read was called, and what for the last time.
func (f *Fake) Reads() (n int, pods Pods) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads, f.pods
}

// Read implements Reader. PodLinks of other pods are left out.
func (f *Fake) Read(pods Pods) (*model.Links, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	f.pods = maps.Clone(pods)
	if f.err != nil {
		return nil, f.err
	}
	l := f.links
	l.Addrs, l.Routes, l.Tunnels = slices.Clone(l.Addrs), slices.Clone(l.Routes), slices.Clone(l.Tunnels)
	l.Pods = slices.DeleteFunc(slices.Clone(l.Pods), func(p model.PodLink) bool {
		_, local := pods[p.Addr]
		return !local
	})
	return &l, nil
}

// Watch implements Reader.
func (f *Fake) Watch(ctx context.Context, changed func()) error {
	f.mu.Lock()
	f.changed = changed
	f.mu.Unlock()
	changed() // of what came before
	<-ctx.Done()
	return nil
}
