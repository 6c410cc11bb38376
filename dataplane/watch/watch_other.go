//go:build !linux

package watch

import (
	"context"
	"errors"
)

// Watcher exists on Linux only.
type Watcher struct{}

// New fails: nftables are Linux's.
func New(string) (*Watcher, error) { return nil, errors.ErrUnsupported }

// NewScoped fails.
func NewScoped(...Scope) (*Watcher, error) { return nil, errors.ErrUnsupported }

// Watch fails.
func (*Watcher) Watch(context.Context, func()) error { return errors.ErrUnsupported }

// Own runs the transaction.
func (*Watcher) Own(write func() error) error { return write() }

// OwnUpTo runs the transaction.
func (*Watcher) OwnUpTo(write func() (int, error)) error {
	_, err := write()
	return err
}
