//go:build !linux

package events

import "errors"

// Kernel exists on Linux only.
type Kernel struct{ Fake }

// New fails: connections are tracked by Linux only.
func New() (*Kernel, error) { return nil, errors.ErrUnsupported }

// Counts fails, as New does.
func Counts() (bool, error) { return false, errors.ErrUnsupported }
