package events

import (
	"slices"
	"sync"
)

// Fake is a Reader in memory, for tests. Safe for concurrent use. The zero Fake has no
// events.
type Fake struct {
	mu      sync.Mutex
	waiting []Event
	open    []Event
	lost    uint64
	fail    error
	dumps   int
	closed  bool
}

// Put has events wait to be read.
func (f *Fake) Put(list ...Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = append(f.waiting, list...)
}

// SetOpen sets what dumps show.
func (f *Fake) SetOpen(list ...Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = slices.Clone(list)
}

// Lose drops what waits, as a kernel does whose socket is full.
func (f *Fake) Lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting, f.lost = nil, f.lost+1
}

// Fail makes Read and Dump fail with err from now on; nil ends that.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Dumps returns how many times the connections were dumped.
func (f *Fake) Dumps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dumps
}

// Closed reports whether it has been closed.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Read implements Reader.
func (f *Fake) Read(limit int, each func(*Event)) (bool, error) {
	f.mu.Lock()
	list, err := f.waiting, f.fail
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	if err == nil {
		f.waiting = f.waiting[len(list):]
	}
	left := len(f.waiting)
	f.mu.Unlock()
	if err != nil {
		return true, err
	}
	for i := range list {
		each(&list[i])
	}
	return left == 0, nil
}

// Dump implements Reader.
func (f *Fake) Dump(each func(*Event)) error {
	f.mu.Lock()
	f.dumps++
	list, err := slices.Clone(f.open), f.fail
	f.mu.Unlock()
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Kind = Listed
		each(&list[i])
	}
	return nil
}

// Lost implements Reader.
func (f *Fake) Lost() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

// Close implements Reader.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
