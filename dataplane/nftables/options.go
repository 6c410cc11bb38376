package nftables

import (
	"fmt"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
)

// Options of a Backend. The zero value means the defaults.
type Options struct {
	base.Marks
	// LogGroup is the NFLOG group of Log rules; 0 means DefaultLogGroup.
	LogGroup uint16
	// queue is how the kernel has packets wait.
	queue queueKind
	// sampleDenied is State.SampleDenied.
	sampleDenied bool
}

// DefaultLogGroup is the NFLOG group of Log rules.
const DefaultLogGroup = 18

func (o Options) complete() Options {
	if o.LogGroup == 0 {
		o.LogGroup = DefaultLogGroup
	}
	return o
}

// with takes from a State what the Options leave open.
func (o Options) with(s *dataplane.State) Options {
	o.Marks = o.Marks.With(s.Settings)
	o.sampleDenied = s.SampleDenied
	return o
}

func setMark(bits uint32) string   { return fmt.Sprintf("meta mark set meta mark | 0x%08x", bits) }
func clearMark(bits uint32) string { return fmt.Sprintf("meta mark set meta mark & 0x%08x", ^bits) }
func isMarked(bits uint32) string  { return fmt.Sprintf("meta mark & 0x%08x == 0x%08x", bits, bits) }

func (o Options) accept() string   { return setMark(o.Accepted) }
func (o Options) accepted() string { return isMarked(o.Accepted) }
