package conntrack

import (
	"context"
	"slices"
	"sync"
)

// Fake is a Table in memory, for tests. Safe for concurrent use. The zero Fake
// is empty.
type Fake struct {
	mu      sync.Mutex
	entries []*Entry
	deleted []*Entry
	fail    error
	lists   int
	usage   Usage
}

// Add puts entries into the table.
func (f *Fake) Add(entries ...*Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = append(f.entries, entries...)
}

// Fail makes all calls fail with err from now on; nil ends that.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Entries returns what is in the table.
func (f *Fake) Entries() []*Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.entries)
}

// Deleted returns the entries that were deleted, in that order.
func (f *Fake) Deleted() []*Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.deleted)
}

// Lists returns how many times the table was listed.
func (f *Fake) Lists() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lists
}

// List implements Table.
func (f *Fake) List(_ context.Context, visit func(*Entry) bool) error {
	f.mu.Lock()
	f.lists++
	entries, err := slices.Clone(f.entries), f.fail
	f.mu.Unlock()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !visit(e) {
			break
		}
	}
	return nil
}

// Delete implements Table.
func (f *Fake) Delete(_ context.Context, e *Entry) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return false, f.fail
	}
	i := slices.Index(f.entries, e)
	if i < 0 {
		return false, nil
	}
	f.entries = slices.Delete(f.entries, i, i+1)
	f.deleted = append(f.deleted, e)
	return true, nil
}

// SetUsage sets what Usage reports.
func (f *Fake) SetUsage(u Usage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.usage = u
}

// Usage implements Meter.
func (f *Fake) Usage() (Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.usage, f.fail
}
