package iptables

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
	// Variant of the commands; zero means the one that the node's other software uses.
	Variant Variant
	// noQueue: the kernel has no queue that packets could wait in.
	noQueue bool
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

func setMark(bits uint32) string   { return fmt.Sprintf("-j MARK --set-xmark 0x%08x/0x%08x", bits, bits) }
func clearMark(bits uint32) string { return fmt.Sprintf("-j MARK --set-xmark 0x00000000/0x%08x", bits) }
func isMarked(bits uint32) string  { return fmt.Sprintf("-m mark --mark 0x%08x/0x%08x", bits, bits) }
