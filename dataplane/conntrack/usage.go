package conntrack

import "encoding/binary"

// Usage is the fill level of a connection tracking table. If it is full, the kernel
// makes room by evicting connections that have had no reply. If there are none, it
// drops the first packet of a new connection, whatever the policy; packets of known
// connections and of traffic that policies leave untracked still pass.
type Usage struct {
	// Entries that there are, and how many there may be.
	Entries, Limit uint32
	// Since the namespace was created, over all CPUs: packets dropped for lack of room,
	// and connections evicted to make room.
	Dropped, Evicted uint64
}

// Meter is a Table that reports how full it is.
type Meter interface {
	Usage() (Usage, error)
}

// Attributes of nfnetlink_conntrack's statistics. Values are of 32 bits, in network order.
const (
	ctaStatsGlobalEntries    = 1
	ctaStatsGlobalMaxEntries = 2
	ctaStatsDrop             = 10
	ctaStatsEarlyDrop        = 11
)

// add reads a message of the table's statistics, or of those of one CPU.
func (u *Usage) add(msg []byte, ofCPU bool) error {
	if len(msg) < nfgenHeader {
		return errShort
	}
	return attributes(msg[nfgenHeader:], func(kind uint16, value, _ []byte) error {
		if len(value) < 4 {
			return errShort
		}
		n := binary.BigEndian.Uint32(value)
		switch {
		case ofCPU && kind == ctaStatsDrop:
			u.Dropped += uint64(n)
		case ofCPU && kind == ctaStatsEarlyDrop:
			u.Evicted += uint64(n)
		case !ofCPU && kind == ctaStatsGlobalEntries:
			u.Entries = n
		case !ofCPU && kind == ctaStatsGlobalMaxEntries:
			u.Limit = n
		}
		return nil
	})
}
