package nflog

import (
	"context"
	"errors"
)

// Reader hands over what rules log.
type Reader interface {
	// Run calls each for every packet, one after the other, until the context ends;
	// then it returns nil. The Packet is the callee's to keep. After an error it may be
	// called again. While each is at work, packets wait in the kernel, and get lost
	// when there is no more room.
	Run(ctx context.Context, each func(*Packet)) error
	// Lost returns how many packets were logged but never came. It grows with
	// Run. Safe for concurrent use.
	Lost() uint64
	// Close releases the Reader's resources. No Run may be in progress.
	Close() error
}

// ErrTaken means that another program already reads the group, or that this process may
// not: the kernel does not distinguish the two.
var ErrTaken = errors.New("another program reads it, or CAP_NET_ADMIN is missing")

// ErrMissing means that the kernel has no NFLOG (module nfnetlink_log).
var ErrMissing = errors.New("the kernel has no NFLOG (module nfnetlink_log)")
