package nftables

import "fmt"

// Options of a Backend. The zero value means the defaults.
type Options struct {
	// Accepted and Early are two bits of the packet mark that are Tierwall's while
	// a packet is within its chains: Accepted says that a tier has accepted,
	// Early that an untracked or preDNAT policy has, so that later hooks leave out
	// the host endpoint's other policies. Both are cleared at the end.
	// 0 means DefaultAccepted and DefaultEarly.
	Accepted, Early uint32
	// LogGroup is the NFLOG group of Log rules; 0 means DefaultLogGroup.
	LogGroup uint16
}

// Defaults of Options. The bits are none that kube-proxy (0x4000, 0x8000),
// Cilium (0x0f00), Tailscale (0xff0000), Weave or the AWS CNI use.
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

func setMark(bits uint32) string   { return fmt.Sprintf("meta mark set meta mark | 0x%08x", bits) }
func clearMark(bits uint32) string { return fmt.Sprintf("meta mark set meta mark & 0x%08x", ^bits) }
func isMarked(bits uint32) string  { return fmt.Sprintf("meta mark & 0x%08x == 0x%08x", bits, bits) }

func (o Options) accept() string   { return setMark(o.Accepted) }
func (o Options) accepted() string { return isMarked(o.Accepted) }
