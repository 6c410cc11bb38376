//go:build linux

package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Race is a run of questions, each followed at once by a connection to the first
// address of the answer.
type Race struct {
	// Type of the questions: TypeA or TypeAAAA.
	Type dnsmessage.Type
	// Port to connect to; 0: there are no connections.
	Port uint16
	// Patience with a connection. One that has none by then counts as Failed.
	Patience time.Duration
}

// Score is what became of a Race.
type Score struct {
	Asked, Answered int
	// Lost are connections whose first packet had to be sent again, Failed those
	// that did not come about.
	Lost, Failed int
	// Wrong says what was lost, with the time.
	Wrong []string
	// Took is how long each answer took.
	Took []time.Duration
	// Silences are the lengths of time between two answers with an unanswered question in between.
	Silences []time.Duration
}

// Run asks for each name. It fails only where a question cannot be asked at all.
func (r Race) Run(c *Client, names []string) (Score, error) {
	var s Score
	last, silent := time.Now(), false
	for _, name := range names {
		s.Asked++
		began := time.Now()
		a, err := c.Ask(name, r.Type)
		if errors.Is(err, ErrNoAnswer) {
			silent = true
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s %s: no answer", time.Now().Format(time.StampMicro), name))
			continue
		}
		if err != nil {
			return s, err
		}
		if r.Port != 0 && len(a.Addrs) > 0 {
			again, err := Connect(netip.AddrPortFrom(a.Addrs[0], r.Port), r.Patience)
			switch {
			case err != nil:
				s.Failed++
				s.Wrong = append(s.Wrong, fmt.Sprintf("%s %s: %v", time.Now().Format(time.StampMicro), name, err))
			case again > 0:
				s.Lost++
				s.Wrong = append(s.Wrong, fmt.Sprintf("%s %s (%s): %d packets sent again", time.Now().Format(time.StampMicro), name, a.Addrs[0], again))
			}
		}
		s.Answered++
		s.Took = append(s.Took, a.received.Sub(began))
		if silent {
			s.Silences = append(s.Silences, a.received.Sub(last))
		}
		last, silent = a.received, false
	}
	return s, nil
}

// Add adds another run's score.
func (s *Score) Add(o Score) {
	s.Asked += o.Asked
	s.Answered += o.Answered
	s.Lost += o.Lost
	s.Failed += o.Failed
	s.Wrong = append(s.Wrong, o.Wrong...)
	s.Took = append(s.Took, o.Took...)
	s.Silences = append(s.Silences, o.Silences...)
}

// Percentile returns how long the p-th percent of the answers took at most, 0 without answers.
func (s *Score) Percentile(p float64) time.Duration {
	if len(s.Took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.Took))
	return sorted[min(len(sorted)-1, int(p/100*float64(len(sorted))))]
}
