package nfqueue

import (
	"context"
	"slices"
	"sync"
)

// Fake is a Reader that a test feeds. Safe for concurrent use. Make it with NewFake.
type Fake struct {
	packets chan []Packet
	fails   chan error

	mu       sync.Mutex
	next     uint32
	waiting  map[uint32]chan struct{}
	accepted []uint32
	missed   uint64
}

var _ Reader = (*Fake)(nil)

// NewFake returns a Fake in which nothing waits.
func NewFake() *Fake {
	return &Fake{packets: make(chan []Packet), fails: make(chan error, 1), waiting: map[uint32]chan struct{}{}}
}

// Send hands packets over, all at once, when the reader has room for them. Each of the
// channels that it returns is closed when its packet is accepted.
func (f *Fake) Send(data ...[]byte) []<-chan struct{} {
	var list []Packet
	var out []<-chan struct{}
	f.mu.Lock()
	for _, b := range data {
		f.next++
		done := make(chan struct{})
		f.waiting[f.next] = done
		list, out = append(list, Packet{ID: f.next, Data: slices.Clone(b)}), append(out, done)
	}
	f.mu.Unlock()
	f.packets <- list
	return out
}

// Fail makes the Run that is under way, or else the next one, end with an error.
func (f *Fake) Fail(err error) { f.fails <- err }

// Waiting returns how many packets were sent and not accepted.
func (f *Fake) Waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting)
}

// Accepted returns the numbers of the packets that were accepted, in that order, from 1.
func (f *Fake) Accepted() []uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.accepted)
}

// Miss adds to what was missed.
func (f *Fake) Miss(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missed += n
}

// Run implements Reader.
func (f *Fake) Run(ctx context.Context, bound func(), each func([]Packet)) error {
	if bound != nil {
		bound()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-f.fails:
			return err
		case list := <-f.packets:
			each(list)
			for i := range list { // they were the callee's until now
				clear(list[i].Data)
			}
		}
	}
}

// Accept implements Reader.
func (f *Fake) Accept(ids []uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if done := f.waiting[id]; done != nil {
			close(done)
			delete(f.waiting, id)
			f.accepted = append(f.accepted, id)
		}
	}
	return nil
}

// Missed implements Reader.
func (f *Fake) Missed() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.missed
}

// Close implements Reader.
func (f *Fake) Close() error { return nil }
