package nflog

import (
	"context"
	"sync"
	"sync/atomic"
)

// Fake is a Reader that a test feeds. Safe for concurrent use. Make it with NewFake.
type Fake struct {
	packets chan *Packet
	fails   chan error
	lost    atomic.Uint64
	runs    atomic.Int64
	closed  sync.Once
	done    chan struct{}
}

var _ Reader = (*Fake)(nil)

// NewFake returns a Fake that logs nothing.
func NewFake() *Fake {
	return &Fake{packets: make(chan *Packet), fails: make(chan error, 1), done: make(chan struct{})}
}

// Send delivers packets, each once the reader has room for it. It gives up when the
// Fake is closed.
func (f *Fake) Send(packets ...*Packet) {
	for _, p := range packets {
		select {
		case f.packets <- p:
		case <-f.done:
			return
		}
	}
}

// Lose adds to what was lost.
func (f *Fake) Lose(n uint64) { f.lost.Add(n) }

// Fail makes the Run that is under way, or else the next one, end with an error.
func (f *Fake) Fail(err error) { f.fails <- err }

// Runs returns how many times Run was called.
func (f *Fake) Runs() int { return int(f.runs.Load()) }

// Run implements Reader.
func (f *Fake) Run(ctx context.Context, each func(*Packet)) error {
	f.runs.Add(1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-f.fails:
			return err
		case p := <-f.packets:
			each(p)
		}
	}
}

// Lost implements Reader.
func (f *Fake) Lost() uint64 { return f.lost.Load() }

// Close implements Reader.
func (f *Fake) Close() error {
	f.closed.Do(func() { close(f.done) })
	return nil
}
