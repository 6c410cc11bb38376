//go:build !linux

package nfqueue

import (
	"context"
	"errors"
	"fmt"
)

func errno(code int32) error { return fmt.Errorf("error %d", code) }

// Kernel is there on Linux only.
type Kernel struct{}

var _ Reader = (*Kernel)(nil)

// New fails: NFQUEUE is Linux's.
func New(uint16) (*Kernel, error) { return nil, errors.ErrUnsupported }

// Run fails.
func (*Kernel) Run(context.Context, func(), func([]Packet)) error { return errors.ErrUnsupported }

// Accept fails.
func (*Kernel) Accept([]uint32) error { return errors.ErrUnsupported }

// Missed is 0.
func (*Kernel) Missed() uint64 { return 0 }

// Close does nothing.
func (*Kernel) Close() error { return nil }
