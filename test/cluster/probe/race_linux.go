package probe

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tierwall/tierwall/test/dns"
)

// race resolves and connects from where the caller is.
func race(q RaceRequest) (RaceResult, error) {
	wait := cmp.Or(q.Patience, 3*time.Second)
	c, err := dns.Dial(q.Server, dns.Options{TCP: q.TCP, Timeout: wait})
	if err != nil {
		return RaceResult{}, err
	}
	r := dns.Race{Type: dnsmessage.TypeA, Port: q.Port, Patience: wait}
	if q.IPv6 {
		r.Type = dnsmessage.TypeAAAA
	}
	s, err := r.Run(c, q.Names)
	result := RaceResult{
		Asked: s.Asked, Answered: s.Answered, Lost: s.Lost, Failed: s.Failed,
		Median: s.Percentile(50), Slowest: s.Percentile(100),
	}
	if len(s.Silences) > 0 {
		result.Silence = slices.Max(s.Silences)
	}
	return result, errors.Join(err, c.Close())
}
