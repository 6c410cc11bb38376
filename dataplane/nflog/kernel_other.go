//go:build !linux

package nflog

import (
	"context"
	"errors"

	"k8s.io/utils/clock"
)

// Kernel exists on Linux only.
type Kernel struct{}

var _ Reader = (*Kernel)(nil)

// New fails: NFLOG is Linux's.
func New(uint16, clock.PassiveClock) (*Kernel, error) { return nil, errors.ErrUnsupported }

// Run fails.
func (*Kernel) Run(context.Context, func(*Packet)) error { return errors.ErrUnsupported }

// Lost is 0.
func (*Kernel) Lost() uint64 { return 0 }

// Close does nothing.
func (*Kernel) Close() error { return nil }
