//go:build !linux

package links

import (
	"context"
	"errors"

	"github.com/tierwall/tierwall/policy/model"
)

// Kernel exists on Linux only.
type Kernel struct{}

// New fails: rtnetlink is Linux's.
func New() (*Kernel, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Kernel) Close() {}

// Read implements Reader.
func (*Kernel) Read(Pods) (*model.Links, error) { return nil, errors.ErrUnsupported }

// Watch implements Reader.
func (*Kernel) Watch(context.Context, func()) error { return errors.ErrUnsupported }
