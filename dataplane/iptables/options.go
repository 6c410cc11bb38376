package iptables

import "fmt"

// Options of a Backend. The zero value means the defaults.
type Options struct {
	// Accepted and Early are two bits of the packet mark that are Tierwall's while
	// a packet is within its chains: Accepted says that a tier has accepted, Early
	// that an untracked or preDNAT policy has, so that later hooks leave out the
	// host endpoint's other policies. 0 means DefaultAccepted and DefaultEarly.
	Accepted, Early uint32
	// LogGroup is the NFLOG group of Log rules; 0 means DefaultLogGroup.
	LogGroup uint16
	// Variant of the commands; zero means the one that the node's other software uses.
	Variant Variant
}

// Defaults of Options, the same as those of the nftables backend.
const (
	DefaultAccepted = 0x10000000
	DefaultEarly    = 0x20000000
	DefaultLogGroup = 18
)

func (o Options) complete() Options {
	if o.Accepted == 0 {
		o.Accepted = DefaultAccepted
	}
	if o.Early == 0 {
		o.Early = DefaultEarly
	}
	if o.LogGroup == 0 {
		o.LogGroup = DefaultLogGroup
	}
	return o
}

func setMark(bits uint32) string   { return fmt.Sprintf("-j MARK --set-xmark 0x%08x/0x%08x", bits, bits) }
func clearMark(bits uint32) string { return fmt.Sprintf("-j MARK --set-xmark 0x00000000/0x%08x", bits) }
func isMarked(bits uint32) string  { return fmt.Sprintf("-m mark --mark 0x%08x/0x%08x", bits, bits) }

func (o Options) both() uint32 { return o.Accepted | o.Early }
