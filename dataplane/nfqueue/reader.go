package nfqueue

import (
	"context"
	"errors"
)

// Reader hands over what waits in a queue.
type Reader interface {
	// Run calls each with all packets that have come since, one call after the other,
	// until the context ends; then it returns nil. Packets and what is in them are valid
	// until each returns. After an error it may be called again: what waited then is lost.
	// bound, if it is not nil, is called once when packets begin to wait for this reader.
	Run(ctx context.Context, bound func(), each func([]Packet)) error
	// Accept has packets go on. One that does not wait any more is no error. Safe for
	// concurrent use, with Run too.
	Accept(ids []uint32) error
	// Missed returns how many packets have gone on without having been handed over,
	// because the reader was too slow, as far as it is known. It grows with Run. Safe for
	// concurrent use.
	Missed() uint64
	// Close gives up what the Reader holds. No Run may be under way.
	Close() error
}

// ErrTaken means that another program reads the queue already, or that this process may
// not: the kernel does not tell the two apart.
var ErrTaken = errors.New("another program reads it, or CAP_NET_ADMIN is missing")

// ErrMissing means that the kernel has no queues (module nfnetlink_queue).
var ErrMissing = errors.New("the kernel has no NFQUEUE (module nfnetlink_queue)")
