//go:build !linux

package iptables

import (
	"context"

	"k8s.io/utils/clock"
)

// Watcher is there on Linux only.
type Watcher struct{}

// NewWatcher fails.
func (b *Backend) NewWatcher(clock.WithTicker) (*Watcher, error) { return nil, errNoLinux }

// Watch fails.
func (*Watcher) Watch(context.Context, func()) error { return errNoLinux }

// Own runs the transaction.
func (*Watcher) Own(write func() error) error { return write() }
