//go:build !linux

package nfqueue

import "errors"

// Switch is there on Linux only.
type Switch struct{}

// NewSwitch fails.
func NewSwitch() (*Switch, error) { return nil, errors.ErrUnsupported }

// Renew does nothing.
func (*Switch) Renew() bool { return false }

// Release does nothing.
func (*Switch) Release() bool { return false }

// Close does nothing.
func (*Switch) Close() error { return nil }
