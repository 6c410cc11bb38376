package answers

import (
	"net/netip"
	"time"

	"github.com/tierwall/tierwall/dataplane/dns"
	"github.com/tierwall/tierwall/dataplane/nfqueue"
)

// Bounds of what is kept of connections: how many, and how long after their last segment.
const (
	maxStreams = 4096
	streamIdle = time.Minute
)

// streams put together what servers send over TCP.
type streams struct {
	byEnds map[[2]netip.AddrPort]*stream
	// tidied is when connections that were over were last forgotten.
	tidied time.Time
}

type stream struct {
	dns.Stream
	last time.Time
}

func newStreams() streams { return streams{byEnds: map[[2]netip.AddrPort]*stream{}} }

// segment calls each for every message that is complete with a segment. It reports
// whether the segment repeats bytes of the connection, and false for whole if messages may
// have gone by unread.
func (s *streams) segment(seg *nfqueue.Segment, now time.Time, each func([]byte)) (repeats, whole bool) {
	ends := [2]netip.AddrPort{seg.Src, seg.Dst}
	st := s.byEnds[ends]
	if st == nil {
		if len(seg.Payload) == 0 && !seg.SYN {
			return false, true
		}
		s.tidy(now)
		if len(s.byEnds) >= maxStreams {
			return false, len(seg.Payload) == 0
		}
		st = &stream{}
		s.byEnds[ends] = st
	}
	st.last = now // a connection that has ended is kept for a while: its last segment may come again
	repeats = !seg.SYN && st.Repeats(seg.Seq, seg.Payload)
	return repeats, st.Segment(seg.Seq, seg.SYN, seg.Payload, each)
}

// tidy forgets connections that have been silent for long, or for a while if there is no room.
func (s *streams) tidy(now time.Time) {
	full := len(s.byEnds) >= maxStreams
	if now.Sub(s.tidied) < streamIdle && (!full || now.Sub(s.tidied) < time.Second) {
		return
	}
	s.tidied = now
	for ends, st := range s.byEnds {
		if idle := now.Sub(st.last); idle > streamIdle || full && idle > time.Second {
			delete(s.byEnds, ends)
		}
	}
}
