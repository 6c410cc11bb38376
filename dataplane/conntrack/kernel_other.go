//go:build !linux

package conntrack

import (
	"context"
	"errors"
)

// Kernel exists on Linux only.
type Kernel struct{}

// New fails: connections are tracked by Linux only.
func New() (*Kernel, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Kernel) Close() {}

// List implements Table.
func (*Kernel) List(context.Context, func(*Entry) bool) error { return errors.ErrUnsupported }

// Delete implements Table.
func (*Kernel) Delete(context.Context, *Entry) (bool, error) { return false, errors.ErrUnsupported }

// Usage implements Meter.
func (*Kernel) Usage() (Usage, error) { return Usage{}, errors.ErrUnsupported }
