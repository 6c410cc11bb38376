package answers

import (
	"net/netip"
	"time"
)

// How many answers to one address wait: a rate per second, and a burst. Answers beyond it
// go on at once; the Keeper learns from them all the same.
const (
	ratePerAddr  = 4000
	burstPerAddr = 4000
	maxRates     = 4096
)

// rates are the remaining tokens of each address.
type rates struct{ byAddr map[netip.Addr]*bucket }

type bucket struct {
	left float64
	at   time.Time
}

func newRates() rates { return rates{map[netip.Addr]*bucket{}} }

// take reports whether another answer of an address may wait.
func (r *rates) take(a netip.Addr, now time.Time) bool {
	b := r.byAddr[a]
	if b == nil {
		if len(r.byAddr) >= maxRates {
			clear(r.byAddr)
		}
		b = &bucket{burstPerAddr, now}
		r.byAddr[a] = b
	}
	b.left = min(b.left+now.Sub(b.at).Seconds()*ratePerAddr, burstPerAddr)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
